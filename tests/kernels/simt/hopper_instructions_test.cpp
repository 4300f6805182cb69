// TMA loads, products and copies in flight, emulated: against plain loops.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/kernels/cuda/emulation.h"
#include "tests/kernels/simt/hopper_kernels.h"
#include "tests/random.h"

namespace glint::test {
namespace {

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
  if (swizzle != CU_TENSOR_MAP_SWIZZLE_NONE) at[0] = at[0] / 8 * 8 - 8;
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

TEST_CASE("emulator: what is in flight reads its operands at the wait that covers it") {
  struct alignas(1024) Shared {
    uint16_t b[64 * 64];
    float words[128];
  };
  alignas(16) std::array<float, 128> stored{};
  std::vector<float> products(128);
  simt::in_every_order([&] {
    simt::run_grid(1, 128, sizeof(Shared), [&] {
      auto& s = *reinterpret_cast<Shared*>(simt::self->block->dynamic_shared());
      for (size_t i = threadIdx.x; i < 64 * 64; i += 128) s.b[i] = to_bf16(1.0f).bits;
      s.words[threadIdx.x] = 1.0f;
      ptx::fence_proxy_async();
      __syncthreads();
      const uint32_t ones = 0x3f803f80;
      uint32_t a[4] = {ones, ones, ones, ones};
      float d[32];
      ptx::wgmma_fence();
      ptx::wgmma_rs<false>(d, a, ptx::descriptor(s.b), false);
      ptx::wgmma_commit();
      if (threadIdx.x == 0) {
        ptx::bulk_store(stored.data(), s.words, sizeof s.words);
        ptx::bulk_commit();
      }
      for (uint32_t& x : a) x = 0;  // too early
      s.words[threadIdx.x] = 2.0f;
      ptx::fence_proxy_async();
      ptx::wgmma_wait<0>();
      __syncthreads();
      products[threadIdx.x] = d[0];
      if (threadIdx.x == 0) ptx::bulk_wait();
    });
    CHECK(products == std::vector<float>(128, 0.0f));
    CHECK(std::all_of(stored.begin(), stored.end(), [](float x) { return x == 2.0f; }));
  });
}

}  // namespace
}  // namespace glint::test
