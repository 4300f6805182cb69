// The causal mask of a tile of scores.
#pragma once

#include "kernels/causal_range.h"
#include "kernels/cuda/attention/mma_tile.cuh"

namespace glint::attention {

struct CausalMask : CausalRange {
  __device__ explicit CausalMask(const AttentionShape& shape) : CausalRange(shape) {}

  // Sets masked scores (queries x keys) to -inf. A fully visible tile costs one comparison.
  template <int kRows, int kColumns>
  __device__ void apply(Accumulator<kRows, kColumns>& s, int i, int j) const {
    if (j + kColumns <= min(S, i + shift + 1)) return;
    using Tile = Accumulator<kRows, kColumns>;
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int end = min(S, i + Tile::row(m_tile, 2 * half) + shift + 1) - j;
#pragma unroll
        for (int n_tile = 0; n_tile < kColumns / 8; ++n_tile) {
#pragma unroll
          for (int r = 2 * half; r < 2 * half + 2; ++r) {
            if (Tile::column(n_tile, r) >= end) s.x[m_tile][n_tile][r] = -INFINITY;
          }
        }
      }
    }
  }
  // The same for transposed scores, (keys x queries). Keys beyond S are not masked: their results are not stored.
  template <int kRows, int kColumns>
  __device__ void apply_transposed(Accumulator<kRows, kColumns>& s, int j, int i) const {
    if (j + kRows <= i + shift + 1) return;
    using Tile = Accumulator<kRows, kColumns>;
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int n_tile = 0; n_tile < kColumns / 8; ++n_tile) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (j + Tile::row(m_tile, r) > i + Tile::column(n_tile, r) + shift) s.x[m_tile][n_tile][r] = -INFINITY;
        }
      }
    }
  }
};

}  // namespace glint::attention
