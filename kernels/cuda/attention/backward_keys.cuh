// dK and dV: a block owns kTile keys of one head, a warp kRows of them, and loops over the queries that see them, for
// every query head of the group. Products are transposed, S^T = K Q^T and so on, so that P^T and dS^T are already left
// operands of the next product. The mask is defined for the untransposed tile (queries x keys): the block draws it in
// that order, 16 queries per warp, and shares it through shared memory.
#pragma once

#include "kernels/cuda/attention/backward.cuh"

namespace glint::attention {

// The other arrays of one tile of queries (besides Q and dO).
struct QueryRows {
  float lse2[kTile], delta[kTile];  // lse * log2(e)
  uint32_t drop[kTile / 16][kTile / 32]
               [32];  // (16 queries, 32 keys, lane): byte r, bit k: element r of n_tile k is dropped
};

template <int kHS>
struct BackwardKeysTiles {
  SharedTile<kTile, kHS> q[2], dout[2], k, v;
  QueryRows rows[2];
};

// This thread's part of the rows of queries i .. i + kTile - 1 of head h; drop bits for keys from j.
template <bool kDropout>
__device__ inline void fill_rows(QueryRows& rows, const AttentionBackward<Bf16>& a, int b, int h, int i, int j) {
  if (threadIdx.x < kTile) {
    const int t = i + threadIdx.x;
    const bool valid = t < a.shape.T;  // else P = 0
    rows.lse2[threadIdx.x] = valid ? a.lse[row_of(a.shape, b, h, t)] * kLog2E : INFINITY;
    rows.delta[threadIdx.x] = valid ? a.scratch[row_of(a.shape, b, h, t)] : 0.0f;
  }
  if constexpr (kDropout) {
    const HeadMask mask(a.dropout, b, a.shape.NH, h);
#pragma unroll
    for (int block = 0; block < kTile / 32; ++block) {
      uint32_t drop[4];
      mask.draw(drop, i / 16 + warp(), j / 32 + block);
      uint32_t bits = 0;
#pragma unroll
      for (int n_tile = 0; n_tile < 4; ++n_tile) bits |= (drop[n_tile] >> (7 - n_tile)) & (0x01010101u << n_tile);
      rows.drop[warp()][block][lane()] = bits;
    }
  }
}

// The mask of a warp's (keys x queries), for the tile's queries from `first`. The element of key 8*half + g and query
// 8*n_tile + 2*t + c is in lane 4*(2*t + c) + g/2 of the mask.
template <int kQueries, bool kDropout>
struct TransposedMask {
  __device__ TransposedMask(const QueryRows& rows, int first) {
    if constexpr (kDropout) {
      const int g = lane() / 4, t = lane() % 4;
#pragma unroll
      for (int block = 0; block < kQueries / 16; ++block) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const uint32_t bits = rows.drop[first / 16 + block][warp() / 2][4 * (2 * t + c) + g / 2];
          drop[block][c] = bits >> (8 * (g % 2) + 2 * (warp() % 2));
        }
      }
    }
  }
  // Of element r of an n_tile.
  __device__ bool keeps(int n_tile, int r) const {
    return !kDropout || !(drop[n_tile / 2][r % 2] & (n_tile % 2 ? 0x10000u : 1u) << r / 2);
  }

  uint32_t drop[kQueries / 16][2];
};

template <int kHS, bool kDropout>
__global__ void __launch_bounds__(kThreads) backward_keys_kernel(const __grid_constant__ AttentionBackward<Bf16> a) {
  using Tiles = BackwardKeysTiles<kHS>;
  constexpr int kQueries = kHS <= 64 ? kTile : 32;  // at a time: dK and dV of large heads leave few registers
  const AttentionShape& shape = a.shape;
  const int kv = blockIdx.y, b = blockIdx.z, group = shape.NH / shape.NKV;
  const int j0 = blockIdx.x * kTile, j = j0 + warp() * kRows;  // first keys first: their columns are longest
  const CausalMask mask(shape);
  const int first = mask.first_query(j0) / kTile * kTile, blocks = (shape.T - first + kTile - 1) / kTile;
  const float scale2 = shape.scale * kLog2E;
  Tiles& shared = dynamic_shared<Tiles>();

  // Step n of the loop is block n % blocks of the queries of head n / blocks of the group.
  const auto fetch = [&](int n, int stage) {
    const int h = kv * group + n / blocks, i = first + n % blocks * kTile;
    copy_tile(shared.q[stage], a.q, b, i, h, shape.T, shape.HS);
    copy_tile(shared.dout[stage], a.dout, b, i, h, shape.T, shape.HS);
    ptx::cp_async_commit();
    fill_rows<kDropout>(shared.rows[stage], a, b, h, i, j0);
  };
  copy_tile(shared.k, a.k, b, j0, kv, shape.S, shape.HS);
  copy_tile(shared.v, a.v, b, j0, kv, shape.S, shape.HS);
  if (blocks > 0) fetch(0, 0);

  Accumulator<kRows, kHS> dk, dv;
  for (int n = 0, stage = 0; n < group * blocks; ++n, stage ^= 1) {
    const int i = first + n % blocks * kTile;
    const QueryRows& rows = shared.rows[stage];
    ptx::cp_async_wait<0>();
    __syncthreads();  // this tile is loaded, and all warps are done with the last one
    if (n + 1 < group * blocks) fetch(n + 1, stage ^ 1);
#pragma unroll 1
    for (int part = 0; part < kTile; part += kQueries) {
      Accumulator<kRows, kQueries> s, dp;
      multiply_transposed(s, shared.k, warp() * kRows, shared.q[stage], part);      // S^T = K Q^T
      multiply_transposed(dp, shared.v, warp() * kRows, shared.dout[stage], part);  // dP^T = V dO^T
      mask.apply_transposed(s, j, i + part);
      const TransposedMask<kQueries, kDropout> dropout(rows, part);
#pragma unroll
      for (int n_tile = 0; n_tile < kQueries / 8; ++n_tile) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int query = part + Accumulator<kRows, kQueries>::column(n_tile, r);
          const bool kept = dropout.keeps(n_tile, r);
          const float p = ptx::exp2(fmaf(s.x[0][n_tile][r], scale2, -rows.lse2[query]));
          s.x[0][n_tile][r] = kept ? p : 0.0f;                                                // M * P
          dp.x[0][n_tile][r] = p * ((kept ? dp.x[0][n_tile][r] : 0.0f) - rows.delta[query]);  // dS
        }
      }
      Fragment<kRows, kQueries> left;
      round_to(left, s);
      multiply(dv, left, shared.dout[stage], part);  // dV += (M * P)^T dO
      round_to(left, dp);
      multiply(dk, left, shared.q[stage], part);  // dK += dS^T Q
    }
  }
  const float keep = a.dropout.scale, both = keep * shape.scale;
  store_rows(a.dv, b, j, kv, shape.S, shape.HS, dv, {{keep, keep}});
  store_rows(a.dk, b, j, kv, shape.S, shape.HS, dk, {{both, both}});
}

template <int kHS>
void launch_backward_keys(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  using Tiles = BackwardKeysTiles<kHS>;
  static_assert(sizeof(Tiles) <= 99 * 1024);
  const auto what = [&] { return backward_text("dK and dV", a.shape); };
  const dim3 grid((a.shape.S + kTile - 1) / kTile, a.shape.NKV, a.shape.B);
  launch(ctx, {grid, dim3(kThreads), sizeof(Tiles)}, what,
         a.dropout.on() ? backward_keys_kernel<kHS, true> : backward_keys_kernel<kHS, false>, a);
}

}  // namespace glint::attention
