// Sums and maxima over a warp and over a block, in a fixed order: bitwise repeatable, and the same in every thread.
#pragma once

#include "kernels/cuda/ptx.cuh"

namespace glint {

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // ignores NaN
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <typename Op, typename T>
__device__ T reduce_warp(T value, const Op& op) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// Exchange between the warps of a block: kValues numbers per warp. With two sets, used in turn, each reduction needs
// only one barrier: the barrier of the next reduction comes before a set is used again.
template <typename T, int kValues = 1>
struct BlockScratch {
  T warps[2][32][kValues];
};

// Group 0 to 3, or the whole block. The barriers' numbers are constants: where ptxas does not know them, it reserves
// all 16.
__device__ inline void wait_for_group(int group, int warps) {
  const int threads = 32 * warps;
  if (threads == static_cast<int>(blockDim.x)) __syncthreads();
  else if (group == 0) ptx::barrier_sync(1, threads);
  else if (group == 1) ptx::barrier_sync(2, threads);
  else if (group == 2) ptx::barrier_sync(3, threads);
  else ptx::barrier_sync(4, threads);
}

// Each of the values over groups of `warps` neighbouring warps; all threads of a group call it, with `turn` 0, 1, 0, 1
// ... from call to call. Every thread gets the results of its group. Groups, at most four, do not wait for each other.
template <typename Op, typename T, int kValues>
__device__ void reduce_group(T (&values)[kValues], const Op& op, BlockScratch<T, kValues>& scratch, int turn,
                             int warps) {
#pragma unroll
  for (int i = 0; i < kValues; ++i) values[i] = reduce_warp(values[i], op);
  if (warps == 1) return;
  auto& set = scratch.warps[turn % 2];
  const int warp = threadIdx.x / 32, first = warp / warps * warps;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    if (threadIdx.x % 32 == 0) set[warp][i] = values[i];
  }
  wait_for_group(first / warps, warps);
#pragma unroll
  for (int i = 0; i < kValues; ++i) values[i] = set[first][i];
  for (int w = 1; w < warps; ++w) {
#pragma unroll
    for (int i = 0; i < kValues; ++i) values[i] = op(values[i], set[first + w][i]);
  }
}

template <typename Op, typename T>
__device__ T reduce_group(T value, const Op& op, BlockScratch<T>& scratch, int turn, int warps) {
  T values[1] = {value};
  reduce_group(values, op, scratch, turn, warps);
  return values[0];
}
template <typename Op, typename T>
__device__ T reduce_block(T value, const Op& op, BlockScratch<T>& scratch, int turn) {
  return reduce_group(value, op, scratch, turn, blockDim.x / 32);
}

}  // namespace glint
