#include "train/exchange/gguf.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <doctest/doctest.h>

#include "kernels/bf16.h"
#include "tests/random.h"
#include "tests/train/run_program.h"
#include "train/exchange/half.h"

using namespace glint;
using test::RandomInputs;

TEST_CASE("half: every value comes back; between two the nearer, of halves the even one") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(half))) CHECK(std::isnan(to_float(to_half(to_float(half)))));
    else REQUIRE(to_half(to_float(half)).bits == bits);
  }
  CHECK(to_float(Half{0x3c00}) == 1.0f);
  CHECK(to_float(Half{0x0001}) == 0x1p-24f);
  CHECK(to_float(Half{0xfbff}) == -65504.0f);
  CHECK(to_half(65519.0f).bits == 0x7bff);
  CHECK(to_half(-65520.0f).bits == 0xfc00);
  CHECK(to_half(1e-8f).bits == 0);
  CHECK(to_half(0x1p-25f).bits == 0);  // half of the smallest: to even
  CHECK(to_half(0x1.8p-24f).bits == 2);
  CHECK(to_half(0x1.ffcp-15f).bits == 0x0400);  // carries into the normal numbers
  RandomInputs inputs(17);
  INFO("seed ", inputs.seed);
  for (const float value : inputs.normal(20000, 3.0f)) {
    const uint16_t bits = to_half(value).bits;
    const float error = std::fabs(to_float(Half{bits}) - value);
    for (const int neighbour : {bits - 1, bits + 1})
      REQUIRE(error <= std::fabs(to_float(Half{static_cast<uint16_t>(neighbour)}) - value));
  }
}

TEST_CASE("gguf: q8_0 is within half a step of a block's scale; 0 stays 0") {
  RandomInputs inputs(18);
  INFO("seed ", inputs.seed);
  std::vector<float> values = inputs.normal(4 * kQ8Block, 2.0f);
  std::fill_n(values.begin() + kQ8Block, kQ8Block, 0.0f);
  const std::vector<char> bytes = packed(values, GgufType::q8_0);
  REQUIRE(bytes.size() == 4 * 34);
  for (size_t i = 0; i < values.size(); ++i) {
    const char* block = bytes.data() + i / kQ8Block * 34;
    Half scale;
    std::memcpy(&scale, block, sizeof scale);
    const float got = to_float(scale) * static_cast<float>(static_cast<signed char>(block[2 + i % kQ8Block]));
    CHECK(std::fabs(got - values[i]) <= to_float(scale) * 0.57f);  // half a step, and the scale's rounding
  }
  CHECK(packed(std::vector<float>{1.0f, -2.0f}, GgufType::bf16) == std::vector<char>{'\x80', '\x3f', 0, '\xc0'});
  CHECK_THROWS_AS(packed(std::vector<float>{1e6f}, GgufType::f16), UserError);
  CHECK_THROWS_AS(packed(std::vector<float>(kQ8Block, 1e7f), GgufType::q8_0), UserError);
}

TEST_CASE("gguf: the bytes of a small file") {
  test::ScratchFolder folder;
  GgufWriter gguf;
  gguf.add("name", "glint");
  gguf.add("list", std::vector<std::string>{"a", "bc"});
  gguf.add("four", uint32_t{4});
  gguf.add_tensor("t", 2, 3, GgufType::f32, [] { return std::vector<float>{1, 2, 3, 4, 5, 6}; });
  gguf.add_tensor("v", 0, 1, GgufType::f16, [] { return std::vector<float>{1}; });
  gguf.write(folder / "m.gguf");
  const auto u32 = [](uint32_t n) { return std::string(reinterpret_cast<const char*>(&n), 4); };
  const auto u64 = [](uint64_t n) { return std::string(reinterpret_cast<const char*>(&n), 8); };
  const auto text = [&](const std::string& s) { return u64(s.size()) + s; };
  std::string expected = "GGUF" + u32(3) + u64(2) + u64(3) + text("name") + u32(8) + text("glint") + text("list") +
                         u32(9) + u32(8) + u64(2) + text("a") + text("bc") + text("four") + u32(4) + u32(4) +
                         text("t") + u32(2) + u64(3) + u64(2) + u32(0) + u64(0) + text("v") + u32(1) + u64(1) + u32(1) +
                         u64(32);
  expected.resize((expected.size() + 31) / 32 * 32, '\0');
  const float values[] = {1, 2, 3, 4, 5, 6};
  expected.append(reinterpret_cast<const char*>(values), sizeof values).append(8, '\0');
  expected.append("\x00\x3c", 2).append(30, '\0');
  CHECK(test::read_file(folder / "m.gguf") == expected);
}
