// dQ: a block of threads owns kBlockRows queries of one head and loops over tiles of the keys that they see. It also
// works out D, which the kernel over keys then reads.
#pragma once

#include "kernels/cuda/attention/sm90/backward_blocks.cuh"
#include "kernels/cuda/attention/sm90/backward_dropout.cuh"

namespace glint::attention::sm90 {

template <int kHS>
struct QueriesShared {
  static constexpr int kStages = 4;
  struct Owned {
    SharedTile<kBlockRows, kHS> q, dout, out;
  };
  struct Stage {
    SharedTile<kTile, kHS> k, v;
  };

  Owned owned;
  Stage stages[kStages];
  StageBarriers<1> owned_barriers;
  StageBarriers<kStages> barriers;
  ItemQueue<1> items;
};

// The loading thread.
template <int kHS>
__device__ void load_queries_tiles(QueriesShared<kHS>& shared, const BackwardArguments& a) {
  Cursor<1> owned;
  Cursor<QueriesShared<kHS>::kStages> at;
  for (;;) {
    const QueryBlock block(a, shared.items.draw(&a.scratch.counters[1], owned));
    if (block.is_none()) break;
    uint64_t& owned_full = shared.owned_barriers.full[0];
    shared.owned_barriers.wait_empty(owned);
    ptx::mbarrier_arrive_expect_tx(&owned_full, sizeof shared.owned);
    load_tile(shared.owned.q, a.q, owned_full, block.b, block.i0, block.h);
    load_tile(shared.owned.dout, a.dout, owned_full, block.b, block.i0, block.h);
    load_tile(shared.owned.out, a.out, owned_full, block.b, block.i0, block.h);
    owned.next();
    const int end = a.range.key_end(block.i0 + kBlockRows - 1), kv = block.h / a.group;
#pragma unroll 1  // registers are few
    for (int j = 0; j < end; j += kTile) {
      auto& stage = shared.stages[at.stage()];
      uint64_t& full = shared.barriers.full[at.stage()];
      shared.barriers.wait_empty(at);
      ptx::mbarrier_arrive_expect_tx(&full, sizeof stage);
      load_tile(stage.k, a.k, full, block.b, j, kv);
      load_tile(stage.v, a.v, full, block.b, j, kv);
      at.next();
    }
  }
}

// Products of what lies in the same place of two fragments, summed over the rows of this lane's quad: row g, row g + 8.
template <int kHS>
__device__ inline void row_products(float (&sum)[2], const Fragment<kHS>& a, const Fragment<kHS>& b) {
  sum[0] = sum[1] = 0.0f;
#pragma unroll
  for (int k = 0; k < kHS / 16; ++k) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const uint32_t x = a.x[k][r], y = b.x[k][r];
      sum[r % 2] = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), sum[r % 2]);
      sum[r % 2] = fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), sum[r % 2]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
    sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
  }
}

// Sets scores (16 queries from i x kTile keys from j) that are masked to -inf.
__device__ inline void mask(Accumulator<64>& s, const CausalRange& range, int i, int j) {
  if (j + kTile <= min(range.S, i + range.shift + 1)) return;
#pragma unroll
  for (int r = 0; r < 32; ++r) {
    if (j + s.column(r) >= min(range.S, i + s.row(r) + range.shift + 1)) s.x[r] = -INFINITY;
  }
}

// A warp of the multiplying warpgroups; warp_index counts those of both.
template <int kHS, bool kDropout>
__device__ void sum_over_keys(QueriesShared<kHS>& shared, const BackwardArguments& a, int warp_index) {
  const AttentionShape& shape = a.shape();
  const int row = warp_index / 4 * kTile;  // of the block's
  Cursor<1> owned;
  Cursor<QueriesShared<kHS>::kStages> at;
  RowDropout<kDropout> dropout(a);
  Accumulator<64> s, dp;  // queries x keys
  Accumulator<kHS> dq;
  Fragment<kHS> q_left, dout_left;
  Fragment<64> ds_left;
  // Operands, in uniform registers.
  using KeyOperand = Operand<SharedTile<kTile, kHS>>;
  const uint32_t first_stage = operand(shared.stages[0].k).descriptor;
  constexpr uint32_t kStage = sizeof shared.stages[0] / 16;
  const auto k_of = [&](auto place) -> KeyOperand { return {first_stage + ptx::uniform(place.stage()) * kStage}; };
  const auto v_of = [](KeyOperand k) -> KeyOperand {
    return {k.descriptor + SharedTile<kTile, kHS>::kBytes / 16};  // it follows
  };
  for (;;) {
    const QueryBlock block(a, shared.items.take(owned));
    if (block.is_none()) break;
    const int i = block.i0 + row, warp_i = i + 16 * (warp_index % 4);  // of the warpgroup, of the warp
    const int block_end = a.range.key_end(block.i0 + kBlockRows - 1);
    const int end = i < shape.T ? a.range.key_end(i + kTile - 1) : 0;  // of the keys that these queries see
    dropout.start(block.b, block.h, warp_i);

    float lse2[2], delta[2];  // of this lane's two rows; rows beyond T get P = 0
    shared.owned_barriers.wait_full(owned);
    load_left(dout_left, shared.owned.dout, row);
    load_left(q_left, shared.owned.out, row);
    row_products(delta, q_left, dout_left);
    load_left(q_left, shared.owned.q, row);
    shared.owned_barriers.release(owned);
    owned.next();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = warp_i + lane() / 4 + 8 * half;
      lse2[half] = t < shape.T ? a.call.lse[row_of(shape, block.b, block.h, t)] * kLog2E : INFINITY;
      delta[half] /= a.call.dropout.scale;
    }
    if (i < shape.T && lane() % 4 < 2) {  // for the kernel over keys
      const bool upper = lane() % 4 == 1;
      const int t = warp_i + lane() / 4 + 8 * upper;
      store_query(a.queries(block.b, block.h, t), t, upper ? lse2[1] : lse2[0], upper ? delta[1] : delta[0]);
    }

    const auto begin = [&](int j) {  // the products of a tile, and meanwhile its mask
      shared.barriers.wait_full(at);
      const KeyOperand k = k_of(at);
      ptx::wgmma_fence();
      multiply_transposed(s, q_left, k);  // S = Q K^T
      ptx::wgmma_commit();
      multiply_transposed(dp, dout_left, v_of(k));  // dP = dO V^T
      ptx::wgmma_commit();
      dropout.draw(j);
    };
#pragma unroll
    for (int r = 0; r < kHS / 2; ++r) dq.x[r] = 0.0f;
    ptx::pin(dq.x);
    int j = 0;
    if (end > 0) {
      for (begin(0);;) {
        ptx::wgmma_wait<1>();  // S, and dQ of the step before
        ptx::pin(s.x);
        if (j > 0) shared.barriers.release(at.before());
        mask(s, a.range, warp_i, j);
#pragma unroll
        for (int r = 0; r < 32; ++r) s.x[r] = ptx::exp2(fmaf(s.x[r], a.scale2, -lse2[r / 2 % 2]));  // P
        ptx::pin(s.x);
        hold(s, a);
        ptx::wgmma_wait<0>();  // dP
        ptx::pin(dp.x);
        Accumulator<64> ds;
#pragma unroll
        for (int n = 0; n < 32; ++n) {
          const int r = 4 * (n % 8) + n / 8;  // drop bits of a byte one after the other
          ds.x[r] = -(s.x[r] * delta[r / 2 % 2]);
          if (!dropout.drops(r)) ds.x[r] = fmaf(s.x[r], dp.x[r], ds.x[r]);  // dS = P * (M * dP - D)
        }
        round_to(ds_left, ds);
        ptx::wgmma_fence();
        multiply(dq, ds_left, k_of(at));  // dQ += dS K
        ptx::wgmma_commit();
        at.next();
        j += kTile;
        if (j >= end) break;
        begin(j);
      }
      ptx::wgmma_wait<0>();
      shared.barriers.release(at.before());
    }
    for (; j < block_end; j += kTile) {  // the other warpgroup's
      shared.barriers.wait_full(at);
      shared.barriers.release(at);
      at.next();
    }
    ptx::pin(dq.x);
    const float factor = shape.scale * a.call.dropout.scale;
    store_rows(a.call.dq, block.b, warp_i, block.h, shape.T, shape.HS, dq, {factor, factor});
  }
}

template <int kHS, bool kDropout>
__global__ void __launch_bounds__(kBlockThreads, 1)
    backward_queries_kernel(const __grid_constant__ BackwardArguments a) {
  auto& shared = dynamic_shared<QueriesShared<kHS>>();
  if (threadIdx.x == 0) {
    shared.owned_barriers.init(1, kConsumerWarps);
    shared.barriers.init(1, kConsumerWarps);
    shared.items.init(kConsumerWarps);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  const int warp_index = static_cast<int>(ptx::uniform(threadIdx.x / 32));
  if (warp_index < 4) {
    ptx::setmaxnreg_dec<kLoaderRegisters>();
    if (warp_index == 0 && lane() == 0) load_queries_tiles(shared, a);
  } else {
    ptx::setmaxnreg_inc<kConsumerRegisters>();
    sum_over_keys<kHS, kDropout>(shared, a, warp_index - 4);
  }
}

}  // namespace glint::attention::sm90
