// The kernel: a block of threads owns kBlockRows keys of one head and loops over tiles of the queries that see them,
// for every query head of the group. Products are transposed, S^T = K Q^T and so on, so that P^T and dS^T are already
// left operands of the next product. Each step also gives the block's part of its queries' dQ, see backward_dq.cuh.
#pragma once

#include "kernels/cuda/attention/sm90/backward_dq.cuh"
#include "kernels/cuda/attention/sm90/backward_dropout.cuh"

namespace glint::attention::sm90 {

template <int kHS, bool kDropout>
struct BackwardShared {
  static constexpr int kStages = kHS == 64 ? 4 : 2;
  static constexpr int kBuffers = kHS == 64 ? 2 : 1;
  struct alignas(1024) Stage {
    SharedTile<kTile, kHS> q, dout;
    QueryPair queries[kTile / 2];
  };

  KeyTiles<kHS> owned[kBuffers];
  Stage stages[kStages];
  DqShared<kHS> dq;
  typename ColumnDropout<kDropout>::Shared dropout;
  StageBarriers<kBuffers> owned_barriers;
  StageBarriers<kStages> barriers;
  ItemQueue<kBuffers> items;
};

// A warpgroup's rows of K and V as the left operands of S^T = K Q^T and dP^T = V dO^T.
template <int kHS>
struct LeftTiles {
  using Tile = SharedTile<kBlockRows, kHS>;

  __device__ LeftTiles(const KeyTiles<kHS>& owned, int row) : k(operand(owned.k, row)) {}
  __device__ void begin_s(Accumulator<64>& s, Operand<SharedTile<kTile, kHS>> q) const {
    multiply_transposed(s, Operand<Tile>{ptx::uniform_now(k.descriptor)}, q);
  }
  __device__ void begin_dp(Accumulator<64>& dp, Operand<SharedTile<kTile, kHS>> dout) const {
    multiply_transposed(dp, Operand<Tile>{ptx::uniform_now(k.descriptor) + Tile::kBytes / 16}, dout);
  }

  Operand<Tile> k;  // V follows
};

// Sets scores (16 keys from j x kTile queries from i) that are masked to -inf.
__device__ inline void mask_transposed(Accumulator<64>& s, const CausalRange& range, int j, int i) {
  if (j + 16 <= min(range.S, i + range.shift + 1)) return;
#pragma unroll
  for (int r = 0; r < 32; ++r) {
    if (j + s.row(r) >= min(range.S, i + s.column(r) + range.shift + 1)) s.x[r] = -INFINITY;
  }
}

// Of the queries of a lane's columns.
struct QueryColumns {
  __device__ void load(const QueryPair (&queries)[kTile / 2]) {
#pragma unroll
    for (int piece = 0; piece < 8; ++piece) x[piece] = load_vector<float4>(&queries[4 * piece + lane() % 4]);
  }
  __device__ float lse2(int r) const { return r % 2 ? x[r / 4].y : x[r / 4].x; }
  __device__ float delta(int r) const { return r % 2 ? x[r / 4].w : x[r / 4].z; }

  float4 x[8];
};

// The loading thread.
template <int kHS, bool kDropout>
__device__ void load_tiles(BackwardShared<kHS, kDropout>& shared, const BackwardArguments& a) {
  using Shared = BackwardShared<kHS, kDropout>;
  StepCursor<Shared::kBuffers> buffer;
  StepCursor<Shared::kStages> at;
  for (;;) {
    const KeyBlock block(a, shared.items.draw(a.scratch.items_taken, buffer));
    if (block.is_none()) break;
    auto& owned = shared.owned[buffer.stage()];
    shared.owned_barriers.wait_empty(buffer);
    uint64_t& owned_full = shared.owned_barriers.expect(buffer, sizeof owned);
    load_tile(owned.k, a.k, owned_full, block.b, block.j0, block.kv);
    load_tile(owned.v, a.v, owned_full, block.b, block.j0, block.kv);
    buffer.next();
#pragma unroll 1  // registers are few
    for (QueryTile tile(block); tile.is_valid(); tile.next()) {
      auto& stage = shared.stages[at.stage()];
      shared.barriers.wait_empty(at);
      uint64_t& full = shared.barriers.expect(at, sizeof stage.q + sizeof stage.dout + sizeof stage.queries);
      load_tile(stage.q, a.q, full, block.b, tile.i, tile.h());
      ptx::bulk_load(stage.queries, a.queries(block.b, tile.h(), tile.i), sizeof stage.queries, &full);
      load_tile(stage.dout, a.dout, full, block.b, tile.i, tile.h());
      at.next();
    }
  }
}

// A warp of the multiplying warpgroups; warp_index counts those of both.
template <int kHS, bool kDropout>
__device__ void sum_over_queries(BackwardShared<kHS, kDropout>& shared, const BackwardArguments& a, int warp_index) {
  using Shared = BackwardShared<kHS, kDropout>;
  constexpr bool kEarly = kHS == 64;  // the next dP^T is begun beside dV and dK, for which 128 channels lack registers
  const AttentionShape& shape = a.shape();
  const int row = warp_index / 4 * kTile;  // of the block's
  StepCursor<Shared::kBuffers> buffer;
  StepCursor<Shared::kStages> at;
  ColumnDropout<kDropout> dropout(a, shared.dropout, warp_index);
  [[maybe_unused]] bool any = false;  // step of this block has gone before
  DsPart<kHS> ds_part(shared.dq, warp_index);
  DqPart<kHS> dq{shared.dq, a, warp_index / 4, warp_index % 4, {}};
  Accumulator<64> s, dp;  // S^T, dP^T: keys x queries
  Accumulator<kHS> dk, dv;
  Fragment<64> p_left, ds_left;
  QueryColumns queries;
  // Operands, in uniform registers.
  using QueryOperand = Operand<SharedTile<kTile, kHS>>;
  const uint32_t first_stage = operand(shared.stages[0].q).descriptor;
  constexpr uint32_t kStage = sizeof shared.stages[0] / 16;
  const auto q_of = [&](auto place) -> QueryOperand { return {first_stage + ptx::uniform(place.stage()) * kStage}; };
  const auto dout_of = [](QueryOperand q) -> QueryOperand {
    return {q.descriptor + SharedTile<kTile, kHS>::kBytes / 16};  // it follows
  };
  for (;;) {
    const KeyBlock block(a, shared.items.take(buffer));
    if (block.is_none()) break;
    const int j = block.j0 + row, warp_j = j + 16 * (warp_index % 4);  // of the warpgroup, of the warp
    const auto& owned = shared.owned[buffer.stage()];
    shared.owned_barriers.wait_full(buffer);
    const LeftTiles<kHS> left(owned, row);

    QueryTile tile(block);
    dropout.start(block.b, tile.h(), j);
    any = false;
    const auto next = [&] {  // whether a new head begins, or the last one has ended
      at.next();
      const bool new_head = tile.next();
      if (new_head) dropout.start(block.b, tile.h(), j);
      return new_head;
    };
    const auto begin_s = [&](QueryOperand q) {
      ptx::wgmma_fence();
      left.begin_s(s, q);  // S^T = K Q^T
      ptx::wgmma_commit();
    };
    const auto begin_dp = [&](QueryOperand q) {
      ptx::wgmma_fence();
      left.begin_dp(dp, dout_of(q));  // dP^T = V dO^T
      ptx::wgmma_commit();
    };
    // dQ of the step that many before this one, where these warpgroups sum it.
    const auto sum = [&](int back) { dq.sum({at.count - back}, block, owned.k, [&] { return tile.before(back); }); };
    // Of the step before the last one, so that the other warpgroup has had time for its part of dS.
    const auto sum_before = [&] {
      if constexpr (Warpgroups<kHS>::kDq) return;
      if (any) sum(2);
      else any = true;
    };
    // Lets tiles go by whose queries see none of these keys; then the next one is there, unless it was the last.
    const auto skip = [&] {
      const int first = j < shape.S ? a.range.first_query(j) / kTile * kTile : shape.T;
      while (tile.is_valid() && tile.i < first) {
        shared.barriers.wait_full(at);
        shared.barriers.release(at);
        ds_part.share({at.count}, {});
        next();
        sum_before();
      }
      if (tile.is_valid()) shared.barriers.wait_full(at);
    };

#pragma unroll
    for (int r = 0; r < kHS / 2; ++r) dk.x[r] = dv.x[r] = 0.0f;
    skip();
    if (tile.is_valid()) {
      begin_s(q_of(at));
      begin_dp(q_of(at));
      dropout.draw(tile.i);
      for (;;) {
        const auto& stage = shared.stages[at.stage()];
        ptx::wgmma_wait<1>();  // S^T
        ptx::pin(s.x);
        mask_transposed(s, a.range, warp_j, tile.i);
        queries.load(stage.queries);
#pragma unroll
        for (int r = 0; r < 32; ++r) s.x[r] = ptx::exp2(fmaf(s.x[r], a.scale2, -queries.lse2(r)));  // P^T
        ptx::pin(s.x);
        hold(s, a);
        ptx::wgmma_wait<0>();  // dP^T
        ptx::pin(dp.x);
        if constexpr (!kEarly) queries.load(stage.queries);  // once more, rather than keep delta in registers
#pragma unroll
        for (int r = 0; r < 32; ++r) {
          const float p_delta = s.x[r] * queries.delta(r);
          if (dropout.drops(r)) s.x[r] = 0.0f;
          dp.x[r] = fmaf(s.x[r], dp.x[r], -p_delta);  // dS^T = P^T * (M * dP^T - D)
        }
        round_to(p_left, s);
        round_to(ds_left, dp);
        ds_part.share({at.count}, ds_left);
        const QueryOperand q = q_of(at);
        ptx::wgmma_fence();
        multiply(dv, p_left, dout_of(q));  // dV += (M * P)^T dO
        multiply(dk, ds_left, q);          // dK += dS^T Q
        ptx::wgmma_commit();
        const auto read = at;
        if (next()) {
          ptx::wgmma_wait<0>();
          shared.barriers.release(read);
          sum_before();
          skip();
          if (!tile.is_valid()) break;
          begin_s(q_of(at));
          begin_dp(q_of(at));
          dropout.draw(tile.i);
        } else {
          shared.barriers.wait_full(at);
          const QueryOperand next_q = q_of(at);
          begin_s(next_q);
          if constexpr (kEarly) begin_dp(next_q);
          dropout.draw(tile.i);
          ptx::wgmma_wait<kEarly ? 2 : 1>();  // dV, dK
          shared.barriers.release(read);
          sum_before();
          if constexpr (!kEarly) begin_dp(q_of(at));
        }
      }
    }
    ptx::wgmma_wait<0>();
    if constexpr (!Warpgroups<kHS>::kDq) sum(1);
    shared.owned_barriers.release(buffer);
    buffer.next();
    ptx::pin(dk.x);
    ptx::pin(dv.x);
    const float keep = a.call.dropout.scale, both = keep * shape.scale;
    store_rows(a.call.dv, block.b, warp_j, block.kv, shape.S, shape.HS, dv, {keep, keep});
    store_rows(a.call.dk, block.b, warp_j, block.kv, shape.S, shape.HS, dk, {both, both});
  }
}

// A warp of the warpgroup for dQ.
template <int kHS, bool kDropout>
__device__ void sum_over_keys(BackwardShared<kHS, kDropout>& shared, const BackwardArguments& a, int warp_index) {
  StepCursor<BackwardShared<kHS, kDropout>::kBuffers> buffer;
  StepCursor<2> step;
  DqPart<kHS> dq{shared.dq, a, 0, warp_index % 4, {}};
  for (;;) {
    const KeyBlock block(a, shared.items.take(buffer));
    if (block.is_none()) break;
    const auto& owned = shared.owned[buffer.stage()];
    shared.owned_barriers.wait_full(buffer);
#pragma unroll 1
    for (QueryTile tile(block); tile.is_valid(); tile.next(), step.next()) {
      dq.sum(step, block, owned.k, [&] { return tile; });
    }
    shared.owned_barriers.release(buffer);
    buffer.next();
  }
}

template <int kHS, bool kDropout>
__global__ void __launch_bounds__(Warpgroups<kHS>::kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardArguments a) {
  using Groups = Warpgroups<kHS>;
  constexpr int kReaders = kConsumerWarps + (Groups::kDq ? 4 : 0);  // warps that read K
  auto& shared = dynamic_shared<BackwardShared<kHS, kDropout>>();
  if (threadIdx.x == 0) {
    shared.owned_barriers.init(1, kReaders);
    shared.barriers.init(1, kConsumerWarps);
    shared.dq.init();
    shared.items.init(kReaders + shared.dq.kSums);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  const int warp_index = static_cast<int>(ptx::uniform(threadIdx.x / 32));
  if (warp_index < 4) {
    ptx::setmaxnreg_dec<Groups::kLoader>();
    if (threadIdx.x == 0) load_tiles(shared, a);
    if (warp() >= 1 && warp() <= shared.dq.kSums && lane() == 0) add_dq(shared.dq, shared.items, a, warp() - 1);
  } else if (warp_index >= 4 + kConsumerWarps) {
    if constexpr (Groups::kDq) {
      ptx::setmaxnreg_dec<Groups::kDqRegisters>();
      sum_over_keys(shared, a, warp_index);
    }
  } else {
    ptx::setmaxnreg_inc<Groups::kConsumer>();
    sum_over_queries(shared, a, warp_index - 4);
  }
}

}  // namespace glint::attention::sm90
