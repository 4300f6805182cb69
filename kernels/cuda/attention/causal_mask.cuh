// Which keys a query sees: those below S and, if causal, those up to its own place, i + (S - T).
#pragma once

#include "kernels/cuda/attention/mma_tile.cuh"

namespace glint::attention {

struct CausalMask {
  __device__ explicit CausalMask(const AttentionShape& shape)
      : T(shape.T), S(shape.S), shift(shape.causal ? shape.S - shape.T : shape.S) {}

  // One past the last key that queries up to `last` see; the first query that sees `key`.
  __device__ int key_end(int last) const { return min(S, min(last, T - 1) + shift + 1); }
  __device__ int first_query(int key) const { return max(0, key - shift); }

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

  int T, S, shift;
};

}  // namespace glint::attention
