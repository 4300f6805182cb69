#include "kernels/philox.h"

#include <doctest/doctest.h>

#include <array>

#include "kernels/cpu/philox_simd.h"
#include "tests/random.h"

namespace glint {
namespace {

using Four = std::array<uint32_t, 4>;

template <int kRounds>
Four draw(Four counter, uint32_t key0, uint32_t key1) {
  const PhiloxCounter out = philox4x32<kRounds>({counter[0], counter[1], counter[2], counter[3]}, {key0, key1});
  return {out.x, out.y, out.z, out.w};
}

// Random123's published known answers (its file tests/kat_vectors, entries philox4x32 7 and philox4x32 10).
TEST_CASE("philox4x32 gives Random123's known answers") {
  const Four zeros{0, 0, 0, 0}, ones{~0u, ~0u, ~0u, ~0u}, pi{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  CHECK(draw<7>(zeros, 0, 0) == Four{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48});
  CHECK(draw<7>(ones, ~0u, ~0u) == Four{0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662});
  CHECK(draw<7>(pi, 0xa4093822, 0x299f31d0) == Four{0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a});
  CHECK(draw<10>(zeros, 0, 0) == Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(draw<10>(ones, ~0u, ~0u) == Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(draw<10>(pi, 0xa4093822, 0x299f31d0) == Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static_assert(philox4x32<10>({0, 0, 0, 0}, {0, 0}).x == 0x6627e8d5, "usable at compile time");

template <int kRounds>
void check_lanes(test::RandomInputs& inputs) {
  using namespace simd;
  uint32_t counter[8][4];
  for (auto& words : counter) {
    for (uint32_t& word : words) word = static_cast<uint32_t>(inputs.engine());
  }
  const PhiloxKey key = philox_key(inputs.engine());
  // The upper halves of the lanes must not matter.
  const auto gather = [&](int word) {
    Words words;
    for (int i = 0; i < 4; ++i) {
      words.even[i] = inputs.engine() << 32 | counter[2 * i][word];
      words.odd[i] = inputs.engine() << 32 | counter[2 * i + 1][word];
    }
    return words;
  };
  const PhiloxCounters out = philox4x32<kRounds>(PhiloxCounters{gather(0), gather(1), gather(2), gather(3)}, key);
  const UInt8 x = low_words(out.x), y = low_words(out.y), z = low_words(out.z), w = low_words(out.w);
  for (int lane = 0; lane < 8; ++lane) {
    const uint32_t* c = counter[lane];
    CHECK(Four{x[lane], y[lane], z[lane], w[lane]} == draw<kRounds>({c[0], c[1], c[2], c[3]}, key.x, key.y));
  }
}

TEST_CASE("eight counters at once give what one at a time gives") {
  test::RandomInputs inputs(20260801);
  INFO("seed ", inputs.seed);
  for (int repeat = 0; repeat < 20; ++repeat) {
    check_lanes<7>(inputs);
    check_lanes<10>(inputs);
  }
}

}  // namespace
}  // namespace glint
