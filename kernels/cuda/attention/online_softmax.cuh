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
  static constexpr int kMTiles = kRows / 16;

  // scale2: the scale of the scores times log2(e).
  __device__ explicit OnlineSoftmax(float scale2) : scale(scale2) {
#pragma unroll
    for (int m_tile = 0; m_tile < kMTiles; ++m_tile) max[m_tile][0] = max[m_tile][1] = -INFINITY;
  }

  // Turns S into P, not yet divided by the row sum; rescales O and the sum to the new maximum. In the first tile every
  // row must see a key.
  template <int kKeys, int kHS>
  __device__ void update(Accumulator<kRows, kKeys>& s, Accumulator<kRows, kHS>& o) {
#pragma unroll
    for (int m_tile = 0; m_tile < kMTiles; ++m_tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float new_max = max[m_tile][half];
#pragma unroll
        for (int n_tile = 0; n_tile < kKeys / 8; ++n_tile) {
          const float(&x)[4] = s.x[m_tile][n_tile];
          new_max = fmaxf(new_max, fmaxf(x[2 * half], x[2 * half + 1]));
        }
        new_max = quad_max(new_max);
        const float alpha = ptx::exp2((max[m_tile][half] - new_max) * scale), neg_max = -new_max * scale;
        max[m_tile][half] = new_max;
        float tile_sum = 0.0f;
#pragma unroll
        for (int n_tile = 0; n_tile < kKeys / 8; ++n_tile) {
#pragma unroll
          for (int r = 2 * half; r < 2 * half + 2; ++r) {
            float& x = s.x[m_tile][n_tile][r];
            tile_sum += x = ptx::exp2(fmaf(x, scale, neg_max));
          }
        }
        sum[m_tile][half] = sum[m_tile][half] * alpha + tile_sum;
#pragma unroll
        for (int n_tile = 0; n_tile < kHS / 8; ++n_tile) {
          o.x[m_tile][n_tile][2 * half] *= alpha;
          o.x[m_tile][n_tile][2 * half + 1] *= alpha;
        }
      }
    }
  }
  // Sums over the whole row; before, each lane has a partial sum.
  __device__ void finish() {
#pragma unroll
    for (int m_tile = 0; m_tile < kMTiles; ++m_tile) {
      sum[m_tile][0] = quad_sum(sum[m_tile][0]);
      sum[m_tile][1] = quad_sum(sum[m_tile][1]);
    }
  }
  // Natural log-sum-exp of a row, after finish().
  __device__ float lse(int m_tile, int half) const {
    return max[m_tile][half] * scale * 0.693147181f + logf(sum[m_tile][half]);
  }

  float scale, max[kMTiles][2], sum[kMTiles][2] = {};
};

}  // namespace glint::attention
