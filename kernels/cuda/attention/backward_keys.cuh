// dK and dV: a block owns kTile keys of one head, a warp kRows of them, and loops over the queries that see them, for
// every query head of the group. Products are transposed, S^T = K Q^T and so on, so that P^T and dS^T are already left
// operands of the next product.
#pragma once

#include "kernels/cuda/attention/backward.cuh"
#include "kernels/cuda/attention/transposed_dropout.cuh"

namespace glint::attention {

// The other arrays of one tile of queries (besides Q and dO).
struct QueryRows {
  float lse2[kTile], delta[kTile];  // lse * log2(e)
  MaskExchange mask;
};

template <int kHS>
struct BackwardKeysTiles {
  SharedTile<kTile, kHS> q[2], dout[2], k, v;
  QueryRows rows[2];
  ColumnPhilox::Columns columns[32];
};

// This thread's part of the rows of queries i .. i + kTile - 1 of head h.
__device__ inline void fill_rows(QueryRows& rows, const AttentionBackward<Bf16>& a, int b, int h, int i) {
  if (threadIdx.x < kTile) {
    const int t = i + threadIdx.x;
    const bool valid = t < a.shape.T;  // else P = 0
    rows.lse2[threadIdx.x] = valid ? a.lse[row_of(a.shape, b, h, t)] * kLog2E : INFINITY;
    rows.delta[threadIdx.x] = valid ? a.scratch[row_of(a.shape, b, h, t)] : 0.0f;
  }
}

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

  const TransposedDropout<kDropout> dropout(a.dropout);

  // Step n of the loop is block n % blocks of the queries of head n / blocks of the group.
  const auto fetch = [&](int n, int stage) {
    const int h = kv * group + n / blocks, i = first + n % blocks * kTile;
    copy_tile(shared.q[stage], a.q, b, i, h, shape.T, shape.HS);
    copy_tile(shared.dout[stage], a.dout, b, i, h, shape.T, shape.HS);
    ptx::cp_async_commit();
    fill_rows(shared.rows[stage], a, b, h, i);
    if constexpr (kDropout) {
      if (n % blocks == 0) {  // a new head
        if (warp() == 0) shared.columns[lane()] = dropout.columns(b, shape.NH, h, j0);
        __syncthreads();
      }
      dropout.draw(shared.rows[stage].mask, shared.columns[lane()], i);
    }
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
    TransposedMask<kDropout> mask_bits;
    mask_bits.load(rows.mask);
#pragma unroll 1
    for (int part = 0; part < kTile; part += kQueries) {
      Accumulator<kRows, kQueries> s, dp;
      multiply_transposed(s, shared.k, warp() * kRows, shared.q[stage], part);      // S^T = K Q^T
      multiply_transposed(dp, shared.v, warp() * kRows, shared.dout[stage], part);  // dP^T = V dO^T
      mask.apply_transposed(s, j, i + part);
#pragma unroll
      for (int n_tile = 0; n_tile < kQueries / 8; ++n_tile) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int query = part + Accumulator<kRows, kQueries>::column(n_tile, r);
          const float p = ptx::exp2(fmaf(s.x[0][n_tile][r], scale2, -rows.lse2[query]));
          const float kept = mask_bits.drops(n_tile, r) ? 0.0f : p;  // M * P
          const float dot = dp.x[0][n_tile][r], delta = rows.delta[query];
          s.x[0][n_tile][r] = kept;
          dp.x[0][n_tile][r] = kDropout ? fmaf(kept, dot, -p * delta) : p * (dot - delta);  // dS
        }
      }
      Fragment<kRows, kQueries> left;
      round_to(left, s);
      multiply(dv, left, shared.dout[stage], part);  // dV += (M * P)^T dO
      round_to(left, dp);
      multiply(dk, left, shared.q[stage], part);  // dK += dS^T Q
      mask_bits.next_half();
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
