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

// A box of `rank` dimensions, at a place that may lie partly outside, against a plain loop.
void check_box(int rank, CUtensorMapSwizzle swizzle, RandomInputs& inputs) {
  constexpr int kElements = 16 << 10;
  const int row = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 24 : 8 << swizzle;  // elements of two bytes
  alignas(16) static std::array<uint16_t, kElements> data;
  for (uint16_t& x : data) x = static_cast<uint16_t>(inputs.engine());
  std::array<cuuint64_t, 5> sizes{40, 5, 4, 3, 2}, strides{};
  std::array<cuuint32_t, 5> box{static_cast<cuuint32_t>(row), 4, 2, 2, 2}, steps{1, 1, 1, 1, 1};
  std::array<int, 5> at{};
  for (size_t i = 0; i < 5; ++i) {
    strides[i] = i == 0 ? 96 : strides[i - 1] * sizes[i];
    at[i] = inputs.below(static_cast<int>(sizes[i])) - 1;
  }
  CUtensorMap map;
  REQUIRE(cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, static_cast<cuuint32_t>(rank), data.data(),
                                 sizes.data(), strides.data(), box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS);
  struct Shared {
    uint16_t box[64 * 32];
    uint64_t barrier;
  };
  size_t elements = 1;
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) elements *= box[i];
  std::vector<uint16_t> loaded(elements), expected(elements);
  simt::run_grid(1, 1, sizeof(Shared), [&] {
    auto& s = *reinterpret_cast<Shared*>(simt::self->block->dynamic_shared());
    ptx::mbarrier_init(&s.barrier, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(&s.barrier, static_cast<unsigned>(elements * 2));
    const unsigned to = simt::shared_address(s.box), barrier = simt::shared_address(&s.barrier);
    if (rank == 1) simt::tma_load(to, &map, barrier, {at[0]});
    if (rank == 2) simt::tma_load(to, &map, barrier, {at[0], at[1]});
    if (rank == 3) simt::tma_load(to, &map, barrier, {at[0], at[1], at[2]});
    if (rank == 4) simt::tma_load(to, &map, barrier, {at[0], at[1], at[2], at[3]});
    if (rank == 5) simt::tma_load(to, &map, barrier, {at[0], at[1], at[2], at[3], at[4]});
    ptx::mbarrier_wait(&s.barrier, 0);
    std::copy_n(s.box, elements, loaded.begin());
  });
  for (size_t e = 0; e < elements; ++e) {
    size_t rest = e, from = 0;
    bool inside = true;
    for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
      const int x = at[i] + static_cast<int>(rest % box[i]);
      rest /= box[i];
      inside = inside && x >= 0 && x < static_cast<int>(sizes[i]);
      from += static_cast<size_t>(x) * (i == 0 ? 1 : strides[i - 1] / 2);
    }
    const size_t chunk = e / 8, swizzled = chunk ^ (chunk / 8 % (size_t{1} << swizzle));
    expected[swizzled * 8 + e % 8] = inside ? data[from] : 0;
  }
  CHECK(loaded == expected);
}

TEST_CASE("emulator: TMA loads of every rank and swizzle, with zeros beyond the array") {
  RandomInputs inputs(20261209);
  INFO("seed ", inputs.seed);
  for (int rank = 1; rank <= 5; ++rank) {
    for (int swizzle = 0; swizzle < 4; ++swizzle) {
      INFO("rank ", rank, ", swizzle ", swizzle);
      for (int i = 0; i < 5; ++i) check_box(rank, static_cast<CUtensorMapSwizzle>(swizzle), inputs);
    }
  }
}

// d = a b^T for one step of 16 k, a (64 x 16) and b (n x 16) in rows of 128 bytes.
template <int kColumns>
void check_wgmma(RandomInputs& inputs) {
  struct Shared {
    uint16_t a[64 * 64], b[kColumns * 64];
  };
  std::vector<float> a(64 * 16), b(kColumns * 16), d(64 * kColumns), expected(64 * kColumns);
  for (auto* x : {&a, &b}) {
    for (float& value : *x) value = static_cast<float>(inputs.below(17) - 8);
  }
  simt::run_grid(1, 128, sizeof(Shared), [&] {
    auto& s = *reinterpret_cast<Shared*>(simt::self->block->dynamic_shared());
    const size_t thread = threadIdx.x;
    const auto put = [&](uint16_t* tile, const std::vector<float>& x) {
      for (size_t i = thread; i < x.size(); i += 128) {
        tile[i / 16 * 64 + (i % 16 / 8 ^ i / 16 % 8) * 8 + i % 8] = to_bf16(x[i]).bits;
      }
    };
    put(s.a, a), put(s.b, b);
    ptx::fence_proxy_async();
    __syncthreads();
    float own[kColumns / 2];
    ptx::wgmma_fence();
    simt::wgmma(own, nullptr, ptx::whole_descriptor(ptx::descriptor(s.a)), ptx::whole_descriptor(ptx::descriptor(s.b)),
                false, false, false);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    for (size_t r = 0; r < kColumns / 2; ++r) {
      const size_t row = thread / 32 * 16 + thread % 32 / 4 + 8 * (r / 2 % 2);
      d[row * kColumns + 8 * (r / 4) + 2 * (thread % 4) + r % 2] = own[r];
    }
  });
  for (size_t i = 0; i < 64 * kColumns; ++i) {
    for (size_t k = 0; k < 16; ++k) expected[i] += a[i / kColumns * 16 + k] * b[i % kColumns * 16 + k];
  }
  CHECK(d == expected);
}

TEST_CASE("emulator: wgmma of 8 to 256 columns") {
  RandomInputs inputs(20261210);
  INFO("seed ", inputs.seed);
  check_wgmma<8>(inputs), check_wgmma<32>(inputs), check_wgmma<72>(inputs), check_wgmma<256>(inputs);
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
