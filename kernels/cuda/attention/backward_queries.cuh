// dQ: a block owns kTile queries of one head, a warp kRows of them, and loops over the keys that they see.
#pragma once

#include "kernels/cuda/attention/backward.cuh"

namespace glint::attention {

template <int kHS>
struct BackwardQueriesTiles {
  SharedTile<kTile, kHS> k[2], v[2], q, dout;
};

// At HS 64 three blocks share a multiprocessor, with or without dropout; 0: as many as ptxas likes.
template <int kHS, bool kDropout>
__global__ void __launch_bounds__(kThreads, kHS == 64 ? 3 : 0)
    backward_queries_kernel(const __grid_constant__ AttentionBackward<Bf16> a) {
  using Tiles = BackwardQueriesTiles<kHS>;
  const AttentionShape& shape = a.shape;
  const int h = blockIdx.y, b = blockIdx.z, kv = h / (shape.NH / shape.NKV);
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kTile;  // long rows first
  const int i = i0 + warp() * kRows;
  const CausalMask mask(shape);
  const int key_end = mask.key_end(i0 + kTile - 1), warp_key_end = mask.key_end(i + kRows - 1);
  Tiles& shared = dynamic_shared<Tiles>();

  copy_tile(shared.q, a.q, b, i0, h, shape.T, shape.HS);
  copy_tile(shared.dout, a.dout, b, i0, h, shape.T, shape.HS);
  copy_tile(shared.k[0], a.k, b, 0, kv, shape.S, shape.HS);
  copy_tile(shared.v[0], a.v, b, 0, kv, shape.S, shape.HS);
  ptx::cp_async_commit();

  const float scale2 = shape.scale * kLog2E;
  float lse2[2], delta[2];  // of this lane's two rows; rows beyond T get P = 0
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t = i + lane() / 4 + 8 * half;
    lse2[half] = t < shape.T ? a.lse[row_of(shape, b, h, t)] * kLog2E : INFINITY;
    delta[half] = t < shape.T ? a.scratch[row_of(shape, b, h, t)] : 0.0f;
  }
  Accumulator<kRows, kHS> dq;
  TileDropout<kRows, kTile, kDropout> dropout(a.dropout, b, shape.NH, h, i);
  for (int j = 0, stage = 0; j < key_end; j += kTile, stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // this tile is loaded, and all warps are done with the last one
    if (j + kTile < key_end) {
      copy_tile(shared.k[stage ^ 1], a.k, b, j + kTile, kv, shape.S, shape.HS);
      copy_tile(shared.v[stage ^ 1], a.v, b, j + kTile, kv, shape.S, shape.HS);
      ptx::cp_async_commit();
    }
    if (j >= warp_key_end) continue;
    Accumulator<kRows, kTile> s, dp;
    multiply_transposed(s, shared.q, warp() * kRows, shared.k[stage]);      // S = Q K^T
    dropout.draw(j);                                                        // while the tensor cores are busy
    multiply_transposed(dp, shared.dout, warp() * kRows, shared.v[stage]);  // dP = dO V^T
    dropout.apply(dp);
    mask.apply(s, i, j);
#pragma unroll
    for (int n_tile = 0; n_tile < kTile / 8; ++n_tile) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float p = ptx::exp2(fmaf(s.x[0][n_tile][r], scale2, -lse2[r / 2]));
        dp.x[0][n_tile][r] = p * (dp.x[0][n_tile][r] - delta[r / 2]);
      }
    }
    Fragment<kRows, kTile> ds;
    round_to(ds, dp);
    multiply(dq, ds, shared.k[stage]);  // dQ += dS K
  }
  const float factor = shape.scale * a.dropout.scale;
  store_rows(a.dq, b, i, h, shape.T, shape.HS, dq, {{factor, factor}});
}

template <int kHS>
void launch_backward_queries(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  using Tiles = BackwardQueriesTiles<kHS>;
  static_assert(sizeof(Tiles) <= 99 * 1024);
  const auto what = [&] { return backward_text("dQ", a.shape); };
  const dim3 grid((a.shape.T + kTile - 1) / kTile, a.shape.NH, a.shape.B);
  launch(ctx, {grid, dim3(kThreads), sizeof(Tiles)}, what,
         a.dropout.on() ? backward_queries_kernel<kHS, true> : backward_queries_kernel<kHS, false>, a);
}

}  // namespace glint::attention
