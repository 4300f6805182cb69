// What a query does not see, hidden from a tile of scores.
#pragma once

#include "kernels/cuda/attention/mma_tile.cuh"
#include "kernels/cuda/attention/sight.cuh"

namespace glint::attention {

struct CausalMask : Sight {
  __device__ explicit CausalMask(const AttentionShape& shape) : Sight(shape) {}

  // Scores (queries x keys) that query i does not see become -inf. A tile that is seen as a whole costs one comparison.
  template <int kRows, int kColumns>
  __device__ void apply(Accumulator<kRows, kColumns>& s, int i, int j) const {
    if (j + kColumns <= min(S, i + shift + 1)) return;
    using Tile = Accumulator<kRows, kColumns>;
#pragma unroll
    for (int slab = 0; slab < kRows / 16; ++slab) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int end = min(S, i + Tile::row(slab, 2 * half) + shift + 1) - j;
#pragma unroll
        for (int piece = 0; piece < kColumns / 8; ++piece) {
#pragma unroll
          for (int r = 2 * half; r < 2 * half + 2; ++r) {
            if (Tile::column(piece, r) >= end) s.x[slab][piece][r] = -INFINITY;
          }
        }
      }
    }
  }
  // The same for transposed scores, (keys x queries). Keys beyond S are left alone: no result of theirs is kept.
  template <int kRows, int kColumns>
  __device__ void apply_transposed(Accumulator<kRows, kColumns>& s, int j, int i) const {
    if (j + kRows <= i + shift + 1) return;
    using Tile = Accumulator<kRows, kColumns>;
#pragma unroll
    for (int slab = 0; slab < kRows / 16; ++slab) {
#pragma unroll
      for (int piece = 0; piece < kColumns / 8; ++piece) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (j + Tile::row(slab, r) > i + Tile::column(piece, r) + shift) s.x[slab][piece][r] = -INFINITY;
        }
      }
    }
  }
};

}  // namespace glint::attention
