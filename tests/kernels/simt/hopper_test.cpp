// Kernels as Hopper's are, with the emulator's instructions: they compute what they should, and every bug that the
// emulator plants into them shows.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <string>
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

struct TurnProblem {
  unsigned blocks;
  int tiles;
  std::vector<float> in;
  std::vector<float> expected = std::vector<float>(256);

  TurnProblem(unsigned of_blocks, int of_tiles, RandomInputs& inputs) : blocks(of_blocks), tiles(of_tiles) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < blocks * static_cast<size_t>(tiles) * 256; ++i) in.push_back(normal(inputs.engine));
    for (size_t block = 0; block < blocks; ++block) {
      for (size_t column = 0; column < 256; ++column) {
        float own = 0.0f;
        for (size_t tile = 0; tile < static_cast<size_t>(tiles); ++tile) {
          own += in[(block * static_cast<size_t>(tiles) + tile) * 256 + column];
        }
        expected[column] += own;
      }
    }
  }
};

std::vector<float> run_turns(const TurnProblem& x) {
  std::vector<float> sum(256, NAN);
  int turn = 0;
  simt::run_grid(x.blocks, 64, sizeof(TurnShared), [&] { turn_kernel(sum.data(), &turn, x.in.data(), x.tiles); });
  return sum;
}

TEST_CASE("emulator: a ring of TMA loads and wgmma") {
  RandomInputs inputs(20261205);
  INFO("seed ", inputs.seed);
  const RingProblem x(7, inputs);
  simt::in_every_order([&] { CHECK(run_ring(x) == x.expected); }, 8);
}

TEST_CASE("emulator: blocks that wait for each other's turn") {
  RandomInputs inputs(20261206);
  INFO("seed ", inputs.seed);
  const TurnProblem x(7, 3, inputs);
  const simt::SavedOptions saved;
  for (const unsigned workers : {1u, 2u, 3u}) {
    INFO("workers ", workers);
    simt::options.workers = workers;
    simt::in_every_order([&] { CHECK(run_turns(x) == x.expected); }, 8);
  }
}

// Whether run() throws or gives something else in one of the orders.
bool shows(const std::function<std::vector<float>()>& run, const std::vector<float>& expected) {
  bool shown = false;
  simt::in_every_order(
      [&] {
        if (shown) return;
        try {
          shown = run() != expected;
        } catch (const simt::Error&) {
          shown = true;
        }
      },
      8);
  return shown;
}

// Every fault named, and every barrier and __syncwarp left out.
void check_faults(const std::set<simt::Fault>& faults, const std::function<std::vector<float>()>& run,
                  const std::vector<float>& expected) {
  using enum simt::Fault;
  simt::take_barrier_sites();
  simt::take_syncwarp_sites();
  REQUIRE_FALSE(shows(run, expected));
  const std::pair<simt::Fault, std::set<std::string>> left_out[] = {{no_barrier, simt::take_barrier_sites()},
                                                                    {no_syncwarp, simt::take_syncwarp_sites()}};
  const simt::SavedOptions saved;
  for (const simt::Fault fault :
       {no_proxy_fence, no_wgmma_wait, late_wgmma_wait, wrong_bytes, wrong_stride, wrong_turn}) {
    INFO("fault ", static_cast<int>(fault));
    simt::options.fault = fault;
    CHECK(shows(run, expected) == faults.contains(fault));
  }
  for (const auto& [kind, sites] : left_out) {
    simt::options.fault = kind;
    for (const std::string& site : sites) {
      INFO("left out: ", site);
      simt::options.fault_site = site;
      CHECK(shows(run, expected));
    }
  }
}

TEST_SUITE_BEGIN("large");  // a planted race would be ThreadSanitizer's to report

TEST_CASE("Hopper emulated: planted bugs show in a ring of TMA loads and wgmma") {
  using enum simt::Fault;
  RandomInputs inputs(20261207);
  INFO("seed ", inputs.seed);
  const RingProblem x(7, inputs);
  check_faults(
      {no_proxy_fence, no_wgmma_wait, late_wgmma_wait, wrong_bytes, wrong_stride}, [&] { return run_ring(x); },
      x.expected);
  simt::in_every_order([&] { CHECK(run_ring<true>(x) != x.expected); }, 8);
  CHECK(simt::unnoticed_early_releases([&] { return run_ring(x) != x.expected; }).empty());
}

TEST_CASE("Hopper emulated: planted bugs show where blocks wait for each other's turn") {
  using enum simt::Fault;
  RandomInputs inputs(20261208);
  INFO("seed ", inputs.seed);
  const TurnProblem x(7, 3, inputs);
  check_faults(
      {no_proxy_fence, wrong_bytes, wrong_turn}, [&] { return run_turns(x); }, x.expected);
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint::test
