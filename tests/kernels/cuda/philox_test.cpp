// The draws of the CUDA attention kernels are those of kernels/dropout.h, bit for bit.
#include <doctest/doctest.h>

#include <vector>

#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/emulation.h"
#include "tests/kernels/cuda/philox_draws.h"
#include "tests/random.h"

namespace glint::test {
namespace {

constexpr uint64_t kSite = 32 * 7 * 5;

// Every second offset is such that the lanes of the head straddle a carry into the upper word.
DrawCase random_case(RandomInputs& inputs, bool carries) {
  const auto word = [&] { return static_cast<uint32_t>(inputs.engine()); };
  DrawCase c{};
  c.rng = {inputs.engine(), inputs.engine() >> 1, word(), static_cast<uint64_t>(inputs.below(1000))};
  c.NH = 1 + inputs.below(40);
  c.b = inputs.below(64);
  c.h = inputs.below(c.NH);
  c.row = static_cast<uint32_t>(inputs.below(1 << 16));
  c.column = static_cast<uint32_t>(inputs.below(1 << 15));
  if (carries) {
    const uint64_t head = (c.rng.first_sequence + c.b) * c.NH + c.h;
    c.rng.offset = (uint64_t{word()} << 32) - 1 - static_cast<uint64_t>(inputs.below(31)) - 32 * head - kSite;
  }
  return c;
}

// row_of(k), column_of(k): of draw k, from the case's block.
template <typename Draw, typename Row, typename Column>
void check_draws(uint64_t seed, const Draw& draw, const Row& row_of, const Column& column_of) {
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  std::vector<DrawCase> cases;
  for (int i = 0; i < 100; ++i) cases.push_back(random_case(inputs, i % 2 == 1));
  const int n = static_cast<int>(cases.size());
  const DeviceBuffer<DrawCase> device_cases(cases);
  const DeviceBuffer<PhiloxCounter> out(cases.size() * kDrawsOfCase * 32);
  Dropout site;
  site.site = kSite;
  draw(CudaContext{}, out.data(), device_cases.data(), n, site);
  const std::vector<PhiloxCounter> draws = out.to_host();
  int carries = 0;
  for (int i = 0; i < n; ++i) {
    INFO("case ", i);
    const DrawCase& c = cases[i];
    const uint64_t offset = c.rng.offset + kSite, head = (c.rng.first_sequence + c.b) * c.NH + c.h;
    carries += low_word(offset + 32 * head + 31) < low_word(offset + 32 * head);
    int wrong = 0;
    for (int k = 0; k < kDrawsOfCase; ++k) {
      for (uint32_t lane = 0; lane < 32; ++lane) {
        const PhiloxCounter x =
            draw_attention(c.rng.seed, offset, head, c.row + row_of(k), c.column + column_of(k), lane);
        const PhiloxCounter& y = draws[(i * kDrawsOfCase + k) * 32 + lane];
        wrong += x.x != y.x || x.y != y.y || x.z != y.z || x.w != y.w;
      }
    }
    CHECK(wrong == 0);
  }
  CHECK(carries >= n / 2);
}

TEST_CASE("cuda attention draws along a block row as dropout.h defines") {
  check_draws(
      20261151, draw_along_row, [](int) { return 0u; }, [](int k) { return static_cast<uint32_t>(k); });
}

TEST_CASE("cuda attention draws along block columns as dropout.h defines") {
  check_draws(
      20261152, draw_along_columns, [](int k) { return static_cast<uint32_t>(k / 2); },
      [](int k) { return static_cast<uint32_t>(k % 2); });
}

}  // namespace
}  // namespace glint::test
