// Small kernels that use Hopper's instructions as the attention kernels do, for tests of their emulation.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/cuda/wgmma.cuh"
#include "kernels/simt/simt.h"

namespace glint::test {

// A map of a (rows, columns) array in boxes of box_rows x 64 columns, swizzled.
inline CUtensorMap matrix_map(const Bf16* data, int rows, int columns, int box_rows) {
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows), 1, 1};
  const cuuint64_t stride = sizes[0] * sizeof(Bf16), strides[3] = {stride, stride * sizes[1], stride * sizes[1]};
  const cuuint32_t box[4] = {64, static_cast<cuuint32_t>(box_rows), 1, 1}, steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<Bf16*>(data), sizes, strides, box,
                             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw simt::Error("the driver refuses a tensor map");
  return map;
}

// c (64 x 64) = a b^T for a and b of 64 x K, K / 64 tiles through a ring of two stages: a producer warpgroup loads by
// TMA, a consumer warpgroup multiplies, leaves one product in flight, and releases the stage of the one before.
struct RingShared {
  Bf16 a[2][64 * 64], b[2][64 * 64];
  float c[64 * 64];
  uint64_t full[2], empty[2];
};

template <bool kEarlyRelease = false>
void ring_kernel(const CUtensorMap& a, const CUtensorMap& b, float* c, int tiles) {
  auto& s = *reinterpret_cast<RingShared*>(simt::self->block->dynamic_shared());
  const int warpgroup = static_cast<int>(threadIdx.x) / 128, thread = static_cast<int>(threadIdx.x) % 128;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < 2; ++stage) {
      ptx::mbarrier_init(&s.full[stage], 1);
      ptx::mbarrier_init(&s.empty[stage], 4);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (warpgroup == 0) {
    ptx::setmaxnreg_dec<96>();
    if (thread != 0) return;
    for (int tile = 0; tile < tiles; ++tile) {
      const int stage = tile % 2;
      ptx::mbarrier_wait(&s.empty[stage], static_cast<unsigned>(tile / 2 % 2) ^ 1);
      ptx::mbarrier_arrive_expect_tx(&s.full[stage], 2 * sizeof s.a[0]);
      ptx::tma_load(s.a[stage], &a, &s.full[stage], 64 * tile, 0, 0, 0);
      ptx::tma_load(s.b[stage], &b, &s.full[stage], 64 * tile, 0, 0, 0);
    }
    return;
  }
  ptx::setmaxnreg_inc<240>();
  const int warp = thread / 32, lane = thread % 32;
  float d[32];
  const auto release = [&](int tile) {
    if (lane == 0 && tile >= 0) ptx::mbarrier_arrive(&s.empty[tile % 2]);
  };
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % 2;
    ptx::mbarrier_wait(&s.full[stage], static_cast<unsigned>(tile / 2 % 2));
    ptx::wgmma_fence();
    for (unsigned k = 0; k < 4; ++k) {
      ptx::wgmma_ss<false, false>(d, ptx::descriptor(s.a[stage]) + 2 * k, ptx::descriptor(s.b[stage]) + 2 * k,
                                  tile > 0 || k > 0);
    }
    ptx::wgmma_commit();
    if (kEarlyRelease) release(tile - 1);
    ptx::wgmma_wait<1>();
    if (!kEarlyRelease) release(tile - 1);
  }
  ptx::wgmma_wait<0>();
  for (int r = 0; r < 32; ++r) {
    const int row = 16 * warp + lane / 4 + 8 * (r / 2 % 2), column = 8 * (r / 4) + 2 * (lane % 4) + r % 2;
    ptx::store_shared(&s.c[64 * row + column], __float_as_uint(d[r]));
  }
  ptx::fence_proxy_async();
  ptx::barrier_sync(1, 128);
  if (thread == 0) {
    ptx::bulk_store(c, s.c, sizeof s.c);
    ptx::bulk_commit();
    ptx::bulk_wait();
  }
}

// sum (256) = what the blocks' tiles (blocks, tiles, 256) add up to: within a block tile by tile, then block after
// block. One warp loads, the other adds; the blocks add to the sum in turn.
struct TurnShared {
  float in[256], out[256];
  uint64_t full, empty;
};

inline void turn_kernel(float* sum, int* turn, const float* in, int tiles) {
  auto& s = *reinterpret_cast<TurnShared*>(simt::self->block->dynamic_shared());
  const int lane = static_cast<int>(threadIdx.x) % 32, block = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&s.full, 1);
    ptx::mbarrier_init(&s.empty, 1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    for (int tile = 0; lane == 0 && tile < tiles; ++tile) {
      ptx::mbarrier_wait(&s.empty, static_cast<unsigned>(tile % 2) ^ 1);
      ptx::mbarrier_arrive_expect_tx(&s.full, sizeof s.in);
      ptx::bulk_load(s.in, in + (block * tiles + tile) * 256, sizeof s.in, &s.full);
    }
    return;
  }
  float own[8] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    ptx::mbarrier_wait(&s.full, static_cast<unsigned>(tile % 2));
    for (int i = 0; i < 8; ++i) own[i] += s.in[32 * i + lane];
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(&s.empty);
  }
  for (int i = 0; i < 8; ++i) s.out[32 * i + lane] = own[i];
  ptx::fence_proxy_async();
  __syncwarp();
  if (lane != 0) return;
  while (ptx::load_acquire(turn) < block) {
  }
  ptx::fence_proxy_async_global();
  if (block == 0) {
    ptx::bulk_store(sum, s.out, sizeof s.out);
  } else {
    ptx::bulk_add(sum, s.out, sizeof s.out);
  }
  ptx::bulk_commit();
  ptx::bulk_wait();
  ptx::store_release(turn, block + 1);
}

}  // namespace glint::test
