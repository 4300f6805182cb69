// Sums and maxima over a warp and over a block, in a fixed order: the same bits every time, and in every thread.
#pragma once

#include "kernels/cuda/device.cuh"

namespace glint {

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {  // of numbers; a NaN loses against any
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <typename Op, typename T>
__device__ T reduce_warp(T value, const Op& op) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// What the warps of a block tell each other. Two sets, used in turn, let one barrier do for each reduction: who is late in
// reading one set holds up the barrier that comes before its next use.
template <typename T>
struct BlockScratch {
  T warps[2][32];
};

// Over groups of `warps` neighbouring warps; all threads of the block come here, with `turn` 0, 1, 0, 1 ... from call to
// call. Every thread gets its group's result.
template <typename Op, typename T>
__device__ T reduce_group(T value, const Op& op, BlockScratch<T>& scratch, int turn, int warps) {
  value = reduce_warp(value, op);
  if (warps == 1) return value;
  const int warp = threadIdx.x / 32, first = warp / warps * warps;
  if (threadIdx.x % 32 == 0) scratch.warps[turn % 2][warp] = value;
  __syncthreads();
  T result = scratch.warps[turn % 2][first];
  for (int i = 1; i < warps; ++i) result = op(result, scratch.warps[turn % 2][first + i]);
  return result;
}

template <typename Op, typename T>
__device__ T reduce_block(T value, const Op& op, BlockScratch<T>& scratch, int turn) {
  return reduce_group(value, op, scratch, turn, blockDim.x / 32);
}

}  // namespace glint
