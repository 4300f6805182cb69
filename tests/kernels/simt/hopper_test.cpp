// The emulator does what the PTX ISA defines for sm_90a, as late as it may, and detects what is not allowed.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tests/kernels/cuda/emulation.h"
#include "tests/kernels/simt/hopper_kernels.h"
#include "tests/random.h"

namespace glint::test {
namespace {

struct RingProblem {
  int tiles;
  std::vector<Bf16> a, b;
  std::vector<float> expected;

  RingProblem(int of_tiles, RandomInputs& inputs) : tiles(of_tiles) {
    const size_t K = static_cast<size_t>(64 * tiles);
    for (auto* x : {&a, &b}) {
      for (size_t i = 0; i < 64 * K; ++i) x->push_back(to_bf16(static_cast<float>(inputs.below(9) - 4)));
    }
    for (size_t i = 0; i < 64; ++i) {
      for (size_t j = 0; j < 64; ++j) {
        float sum = 0.0f;
        for (size_t k = 0; k < K; ++k) sum += to_float(a[i * K + k]) * to_float(b[j * K + k]);
        expected.push_back(sum);
      }
    }
  }
};

template <bool kEarlyRelease = false>
std::vector<float> run_ring(const RingProblem& x) {
  alignas(16) std::array<float, 64 * 64> c;
  c.fill(NAN);
  const CUtensorMap a = matrix_map(x.a.data(), 64, 64 * x.tiles, 64), b = matrix_map(x.b.data(), 64, 64 * x.tiles, 64);
  const simt::SavedOptions saved;
  simt::options.registers = 168;  // of which the producer gives some to the consumer
  simt::run_grid(1, 256, sizeof(RingShared), [&] { ring_kernel<kEarlyRelease>(a, b, c.data(), x.tiles); });
  return {c.begin(), c.end()};
}

TEST_CASE("emulator: a ring of TMA loads and wgmma") {
  RandomInputs inputs(20261205);
  INFO("seed ", inputs.seed);
  const RingProblem x(7, inputs);
  simt::in_every_order([&] { CHECK(run_ring(x) == x.expected); }, 8);
  simt::in_every_order([&] { CHECK(run_ring<true>(x) != x.expected); }, 8);
}

}  // namespace
}  // namespace glint::test
