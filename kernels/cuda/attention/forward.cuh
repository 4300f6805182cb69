// Attention forward in bf16: FlashAttention-2 (T. Dao, 2023), Algorithm 1, with dropout after the softmax.
#pragma once

#include "kernels/cuda/attention/causal_mask.cuh"
#include "kernels/cuda/attention/online_softmax.cuh"
#include "kernels/cuda/attention/tile_dropout.cuh"

namespace glint::attention {

// A block owns kQueries queries of one head, a warp kRows of them; keys are loaded kKeys at a time, double-buffered.
template <int kHS>
struct ForwardTiles {
  static constexpr int kRows = kHS <= 64 ? 32 : 16, kQueries = kRows * kWarps, kKeys = 64;

  SharedTile<kKeys, kHS> k[2], v[2];
  SharedTile<kQueries, kHS> q;
};

template <int kHS, bool kDropout>
__global__ void __launch_bounds__(kThreads) forward_kernel(const __grid_constant__ AttentionForward<Bf16> a) {
  using Tiles = ForwardTiles<kHS>;
  constexpr int kRows = Tiles::kRows, kKeys = Tiles::kKeys;
  const AttentionShape& shape = a.shape;
  const int h = blockIdx.y, b = blockIdx.z, kv = h / (shape.NH / shape.NKV);
  const int i0 = (gridDim.x - 1 - blockIdx.x) * Tiles::kQueries;  // long rows first
  const int i = i0 + warp() * kRows;                              // this warp's first query
  const CausalMask mask(shape);
  const int key_end = mask.key_end(i0 + Tiles::kQueries - 1), warp_key_end = mask.key_end(i + kRows - 1);
  Tiles& shared = dynamic_shared<Tiles>();

  copy_tile(shared.q, a.q, b, i0, h, shape.T, shape.HS);
  copy_tile(shared.k[0], a.k, b, 0, kv, shape.S, shape.HS);
  copy_tile(shared.v[0], a.v, b, 0, kv, shape.S, shape.HS);
  ptx::cp_async_commit();

  Accumulator<kRows, kHS> o;
  OnlineSoftmax<kRows> softmax(shape.scale * kLog2E);
  TileDropout<kRows, kKeys, kDropout> dropout(a.dropout, b, shape.NH, h, i);
  for (int j = 0, stage = 0; j < key_end; j += kKeys, stage ^= 1) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // this tile is loaded, and all warps are done with the last one
    if (j + kKeys < key_end) {
      copy_tile(shared.k[stage ^ 1], a.k, b, j + kKeys, kv, shape.S, shape.HS);
      copy_tile(shared.v[stage ^ 1], a.v, b, j + kKeys, kv, shape.S, shape.HS);
      ptx::cp_async_commit();
    }
    if (j >= warp_key_end) continue;
    Accumulator<kRows, kKeys> s;
    multiply_transposed(s, shared.q, warp() * kRows, shared.k[stage]);  // S = Q K^T
    dropout.draw(j);                                                    // while the tensor cores are busy
    mask.apply(s, i, j);
    softmax.update(s, o);
    Fragment<kRows, kKeys> p;
    round_to(p, s);
    dropout.apply(p);
    multiply(o, p, shared.v[stage]);  // O += P V
  }

  softmax.finish();
  float factor[kRows / 16][2];
#pragma unroll
  for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      factor[m_tile][half] = a.dropout.scale / softmax.sum[m_tile][half];
      const int t = i + Accumulator<kRows, kHS>::row(m_tile, 2 * half);
      if (a.lse && t < shape.T && lane() % 4 == 0) {
        a.lse[row_of(shape, b, h, t)] = softmax.lse(m_tile, half);
      }
    }
  }
  store_rows(a.out, b, i, h, shape.T, shape.HS, o, factor);
}

template <int kHS>
void launch_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a) {
  using Tiles = ForwardTiles<kHS>;
  static_assert(sizeof(Tiles) <= 99 * 1024);  // the limit of the smallest GPU from sm_80 on
  const AttentionShape& s = a.shape;
  const auto what = [&] {
    return str_cat("attention_forward, bf16, B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
  };
  const dim3 grid((s.T + Tiles::kQueries - 1) / Tiles::kQueries, s.NH, s.B);
  launch(ctx, {grid, dim3(kThreads), sizeof(Tiles)}, what,
         a.dropout.on() ? forward_kernel<kHS, true> : forward_kernel<kHS, false>, a);
}

}  // namespace glint::attention
