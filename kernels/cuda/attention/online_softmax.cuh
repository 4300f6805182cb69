// The online softmax of FlashAttention-2's Algorithm 1, on a warp's rows, in powers of two. A row lies in the four
// lanes of a quad.
#pragma once

#include "kernels/cuda/attention/mma_tile.cuh"

namespace glint::attention {

__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

template <int kRows>
struct OnlineSoftmax {
  static constexpr int kSlabs = kRows / 16;

  // scale2: the scale of the scores times log2(e).
  __device__ explicit OnlineSoftmax(float scale2) : scale(scale2) {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) max[slab][0] = max[slab][1] = -INFINITY;
  }

  // S becomes P, less the sum of the row; O and the sum are rescaled to the new maximum. The first tile must show every
  // row a key.
  template <int kKeys, int kHS>
  __device__ void update(Accumulator<kRows, kKeys>& s, Accumulator<kRows, kHS>& o) {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = max[slab][half];
#pragma unroll
        for (int piece = 0; piece < kKeys / 8; ++piece) {
          const float(&x)[4] = s.x[slab][piece];
          highest = fmaxf(highest, fmaxf(x[2 * half], x[2 * half + 1]));
        }
        highest = quad_max(highest);
        const float shrink = ptx::exp2((max[slab][half] - highest) * scale), least = -highest * scale;
        max[slab][half] = highest;
        float tile_sum = 0.0f;
#pragma unroll
        for (int piece = 0; piece < kKeys / 8; ++piece) {
#pragma unroll
          for (int r = 2 * half; r < 2 * half + 2; ++r) {
            float& x = s.x[slab][piece][r];
            tile_sum += x = ptx::exp2(fmaf(x, scale, least));
          }
        }
        sum[slab][half] = sum[slab][half] * shrink + tile_sum;
#pragma unroll
        for (int piece = 0; piece < kHS / 8; ++piece) {
          o.x[slab][piece][2 * half] *= shrink;
          o.x[slab][piece][2 * half + 1] *= shrink;
        }
      }
    }
  }
  // Sums over the whole row; until then each lane has its own part.
  __device__ void finish() {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      sum[slab][0] = quad_sum(sum[slab][0]);
      sum[slab][1] = quad_sum(sum[slab][1]);
    }
  }
  // Natural log-sum-exp of a row, after finish().
  __device__ float lse(int slab, int half) const {
    return max[slab][half] * scale * 0.693147181f + logf(sum[slab][half]);
  }

  float scale, max[kSlabs][2], sum[kSlabs][2] = {};
};

}  // namespace glint::attention
