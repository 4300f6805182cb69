// dQ. Each step gives, for its tile of queries, the sum over the block's keys; the sums of all blocks are added up in
// global memory in fp32 by bulk copies. In a fixed order, last block of keys first: a turn counter for each tile of
// queries says how many have added. The block of keys 0, which comes last and which all queries see, adds the others'
// sum to its own and writes dQ.
#pragma once

#include "kernels/cuda/attention/sm90/backward_blocks.cuh"

namespace glint::attention::sm90 {

template <int kHS>
struct KeyTiles {
  SharedTile<kBlockRows, kHS> k, v;
};

// In shared memory. The warpgroups sum dQ in turns, step by step, or, of 128 channels, 64 each. The thread that sends a
// sum to global memory makes its buffer available to the warps, which fill it.
template <int kHS>
struct DqShared {
  static constexpr int kSums = kHS == 64 ? 2 : 1, kHalves = kHS / 64, kWarps = kConsumerWarps / kSums;  // of a sum

  __device__ void init() {
    ds_barriers.init(kConsumerWarps, kWarps);
    for (int i = 0; i < kSums; ++i) ptx::mbarrier_init(&available[i], 1), ptx::mbarrier_init(&filled[i], kWarps);
  }

  SharedTile<kBlockRows, 64> ds[2];  // dS^T of even and odd steps: keys x queries
  struct Sum {
    float4 x[kHalves][8][128];  // (64 channels, 8 of them, thread of the warpgroup)
  };
  Sum sums[kSums];
  StageBarriers<2> ds_barriers;
  uint64_t available[kSums], filled[kSums];
};

// A multiplying warpgroup's side.
template <int kHS>
struct DqPart {
  using Step = StepCursor<2>;  // counted over all blocks of keys

  // Of the warps of both warpgroups.
  __device__ DqPart(DqShared<kHS>& of_block, const BackwardArguments& arguments, int warp_index)
      : shared(of_block), a(arguments), warpgroup(warp_index / 4), warp(warp_index % 4) {
    const int row = kTile * warpgroup + 16 * warp + lane() % 16, chunk = lane() / 16 ^ lane() % 8;
    ds_place = ptx::SharedAddress(&shared.ds[0].halves[0][row][chunk * 8]).value;
  }

  // A new block of keys begins.
  __device__ void start() { any = false; }

  // Shows a step's dS^T to both warpgroups.
  __device__ void share(Step step, const Fragment<64>& ds) {
    shared.ds_barriers.wait_empty(step);
    const unsigned to = ds_place + step.stage() * sizeof shared.ds[0];
#pragma unroll
    for (int k = 0; k < 4; ++k) ptx::stmatrix(to ^ 32 * k, ds.x[k]);
    ptx::fence_proxy_async();
    warp_arrive(shared.ds_barriers.full[step.stage()]);
  }

  // Sums dQ of the step kBack before `next`, whose tile is `tile`, if it is of this block.
  template <int kBack>
  __device__ void sum(Step next, const KeyBlock& block, const QueryTile& tile, const SharedTile<kBlockRows, kHS>& k) {
    const Step step{next.count - kBack};
    if (kBack > 1 && !any) {
      any = true;
      return;
    }
    if (kHS == 64 && step.stage() != warpgroup) return;
    const int half = kHS == 64 ? 0 : warpgroup, buffer = kHS == 64 ? warpgroup : 0;

    shared.ds_barriers.wait_full(step);
    ptx::wgmma_fence();
    const uint64_t left = ptx::whole_descriptor(ptx::uniform_now(ptx::descriptor(&shared.ds[step.stage()])));
    const uint64_t right = ptx::whole_descriptor(ptx::uniform_now(ptx::descriptor(&k.halves[half])));
#pragma unroll
    for (int i = 0; i < kBlockRows / 16; ++i) {
      ptx::wgmma_ss<true, true>(dq.x, left + i * 128, right + i * 128, i > 0);  // dQ = (dS^T)^T K
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::pin(dq.x);
    shared.ds_barriers.release(step);

    float4* sum = &shared.sums[buffer].x[half][0][threadIdx.x % 128];
    ptx::mbarrier_wait(&shared.available[buffer], step.count / DqShared<kHS>::kSums % 2);
    if (block.j0 > 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        store_vector(sum + 128 * i, float4{dq.x[4 * i], dq.x[4 * i + 1], dq.x[4 * i + 2], dq.x[4 * i + 3]});
      }
      ptx::fence_proxy_async();
      warp_arrive(shared.filled[buffer]);
      return;
    }
    const QueryTile own = tile.before(kBack);
    if (block.before(own.i) > 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float4 x = load_vector<float4>(sum + 128 * i);
        dq.x[4 * i] += x.x, dq.x[4 * i + 1] += x.y, dq.x[4 * i + 2] += x.z, dq.x[4 * i + 3] += x.w;
      }
    }
    warp_arrive(shared.filled[buffer]);
    const float factor = a.call.dropout.scale * a.shape().scale;
    HeadView<Bf16> to = a.call.dq;
    to.data += 64 * half;
    store_rows(to, block.b, own.i + 16 * warp, own.h(), a.shape().T, a.shape().HS - 64 * half, dq, {factor, factor});
  }

 private:
  DqShared<kHS>& shared;
  const BackwardArguments& a;
  const int warpgroup, warp;
  unsigned ds_place;   // where this lane stores of dS^T
  Accumulator<64> dq;  // of a step
  bool any = false;    // step of this block has gone before
};

// A sum whose copy to global memory has been begun: its turn has to be passed on before anything else is waited for.
struct OpenTurn {
  __device__ void pass_on(int* turns) {
    if (tile < 0) return;
    ptx::bulk_wait();
    ptx::fence_proxy_async_global();
    ptx::store_release(turns + tile, value);
    tile = -1;
  }

  int tile = -1, value = 0;
};

__device__ inline void wait_for_turn(const int* turn, int value) {
  while (ptx::load_acquire(turn) < value) {
  }
  ptx::fence_proxy_async_global();
}

// The thread that sends off the sums in buffer `mine`: those of every kSums-th step.
template <int kHS, int kBuffers>
__device__ void add_dq(DqShared<kHS>& shared, ItemQueue<kBuffers>& items, const BackwardArguments& a, unsigned mine) {
  constexpr unsigned kBytes = sizeof shared.sums[0];
  StepCursor<kBuffers> at;
  typename DqPart<kHS>::Step step;
  OpenTurn open;
  for (;;) {
    const KeyBlock block(a, items.take_alone(at));
    if (block.is_none()) break;
#pragma unroll 1  // registers are few
    for (QueryTile tile(block); tile.is_valid(); tile.next(), step.next()) {
      if (step.count % DqShared<kHS>::kSums != mine) continue;
      const int before = block.before(tile.i), index = a.tile_index(block.b, tile.h(), tile.i);
      float* sum = a.scratch.dq + int64_t{index} * (kTile * kHS);
      const bool is_last = block.j0 == 0;
      if (is_last && before > 0) {
        wait_for_turn(a.scratch.turns + index, before);
        ptx::mbarrier_arrive_expect_tx(&shared.available[mine], kBytes);
        ptx::bulk_load(&shared.sums[mine], sum, kBytes, &shared.available[mine]);
      } else {
        ptx::mbarrier_arrive(&shared.available[mine]);
      }
      open.pass_on(a.scratch.turns);  // of the step before, while this one's sum is worked out
      ptx::mbarrier_wait(&shared.filled[mine], step.count / DqShared<kHS>::kSums % 2);
      if (is_last) continue;
      if (before > 0) {
        wait_for_turn(a.scratch.turns + index, before);
        ptx::bulk_add(sum, &shared.sums[mine], kBytes);
      } else {
        ptx::bulk_store(sum, &shared.sums[mine], kBytes);
      }
      ptx::bulk_commit();
      ptx::bulk_wait_read();
      open = {index, before + 1};
    }
    open.pass_on(a.scratch.turns);
    at.next();
  }
}

}  // namespace glint::attention::sm90
