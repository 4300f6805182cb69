// What happens to a warpgroup's scores between the two products: causal mask, online softmax, dropout.
#pragma once

#include "kernels/causal_range.h"
#include "kernels/cuda/attention/philox.cuh"
#include "kernels/cuda/attention/sm90/warpgroup_tile.cuh"
#include "kernels/cuda/dropout.cuh"

namespace glint::attention::sm90 {

struct CausalMask : CausalRange {
  __device__ explicit CausalMask(const AttentionShape& shape) : CausalRange(shape) {}

  // The warpgroup's 64 queries i, i + 1, ..
  __device__ void start(int i) {
    all_end = min(S, i + shift + 1);
    row_end = i + warp() % 4 * 16 + Accumulator<64>::row(0) + shift + 1;
  }
  // Sets masked scores of keys j, j + 1, .. to -inf. A fully visible tile costs one comparison.
  template <int kKeys>
  __device__ void apply(Accumulator<kKeys>& s, int j) const {
    if (j + kKeys <= all_end) return;
    const int column = j + lane() % 4 * 2;
    const int end[2] = {min(S, row_end) - column, min(S, row_end + 8) - column};
#pragma unroll
    for (int r = 0; r < kKeys / 2; ++r) {
      if (8 * (r / 4) + r % 2 >= end[r / 2 % 2]) s.x[r] = -INFINITY;
    }
  }

  int all_end = 0, row_end = 0;  // one past the keys that all queries see, and that row 0 of this lane sees
};

// Algorithm 1's softmax of FlashAttention-2 on two rows a lane, in powers of two. A row lies in the four lanes of a
// quad.
struct OnlineSoftmax {
  __device__ explicit OnlineSoftmax(float score_scale) : scale(score_scale * kLog2E) {}

  __device__ void start() {
    max[0] = max[1] = -INFINITY;
    sum[0] = sum[1] = 0.0f;
  }

  // Turns S into P, not yet divided by the row sum. In the first tile every row must see a key.
  template <int kKeys>
  __device__ void update(Accumulator<kKeys>& s) {
    float neg_max[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float new_max = max[half];
#pragma unroll
      for (int r = 2 * half; r < kKeys / 2; r += 4) new_max = fmaxf(new_max, fmaxf(s.x[r], s.x[r + 1]));
      new_max = quad_max(new_max);
      alpha[half] = ptx::exp2((max[half] - new_max) * scale);
      max[half] = new_max;
      neg_max[half] = -new_max * scale;
    }
    float tile_sum[2][2] = {};
#pragma unroll
    for (int r = 0; r < kKeys / 2; ++r) {
      const int half = r / 2 % 2;
      tile_sum[half][r % 2] += s.x[r] = ptx::exp2(fmaf(s.x[r], scale, neg_max[half]));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] = fmaf(sum[half], alpha[half], tile_sum[half][0] + tile_sum[half][1]);
    }
  }
  // Brings O to the new maximum.
  template <int kHS>
  __device__ void rescale(Accumulator<kHS>& o) const {
#pragma unroll
    for (int r = 0; r < kHS / 2; ++r) o.x[r] *= alpha[r / 2 % 2];
  }
  // Sums over the whole row; before, each lane has a partial sum.
  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) sum[half] = quad_sum(sum[half]);
  }
  // Natural log-sum-exp of a row, after finish().
  __device__ float lse(int half) const { return max[half] * scale * 0.693147181f + logf(sum[half]); }

  float scale, max[2], sum[2], alpha[2];
};

// Dropout of P: the mask of kernels/dropout.h, drawn in registers, for tiles of kKeys keys or their first ones. Empty
// if dropout is off. As in kernels/cuda/attention/tile_dropout.cuh, word k of a block's draw is of columns 8k to 8k +
// 7, and its byte r of element r.
template <int kKeys, bool kDropout>
struct TileDropout {
  __device__ explicit TileDropout(const Dropout&) {}
  __device__ void start(int, int, int, int) {}
  template <int kWidth>
  __device__ void draw(int) {}
  template <int kWidth>
  __device__ void apply(Fragment<kWidth>&) const {}
};

template <int kKeys>
struct TileDropout<kKeys, true> {
  __device__ explicit TileDropout(const Dropout& dropout) : philox(dropout), keep(dropout.threshold) {
    keep.limit = __shfl_xor_sync(0xffffffffu, keep.limit, 1);  // the comparison takes no uniform register
  }

  // The warpgroup's 64 queries i, i + 1, .. of head h of NH of sequence b.
  __device__ void start(int b, int NH, int h, int i) { row = philox.row(b, NH, h, i / 16 + warp() % 4); }
  // The mask of the first kWidth keys of a tile.
  template <int kWidth>
  __device__ void draw(int tile) {
#pragma unroll
    for (int block = 0; block < kWidth / 32; ++block) philox.draw(random[block], row, tile * (kKeys / 32) + block);
  }
  // Zeroes dropped elements.
  template <int kWidth>
  __device__ void apply(Fragment<kWidth>& p) const {
#pragma unroll
    for (int k = 0; k < kWidth / 16; ++k) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        keep.apply(p.x[k][r], random[k / 2][2 * (k % 2) + r / 2], r % 2);
      }
    }
  }

  RowPhilox philox;
  RowPhilox::Row row = {};
  KeepPairs keep;
  uint32_t random[kKeys / 32][4];
};

}  // namespace glint::attention::sm90
