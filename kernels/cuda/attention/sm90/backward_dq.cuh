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

// In shared memory. dQ of 64 channels is summed by a warpgroup of its own; of 128, for which registers lack, by the
// warpgroups that multiply, 64 channels each. The thread that sends a sum to global memory makes its buffer available
// to the warps, which fill it.
template <int kHS>
struct DqShared {
  static constexpr int kSums = kHS == 64 ? 2 : 1, kHalves = kHS / 64, kWarps = 4 * kHalves;  // of a sum
  // The buffer of a step's sum, and how many it held before.
  __device__ static int buffer(unsigned step) { return step % kSums; }
  __device__ static unsigned turn(unsigned step) { return step / kSums; }

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

// A multiplying warpgroup's side: shows dS^T of a step to the others.
template <int kHS>
struct DsPart {
  using Step = StepCursor<2>;  // counted over all blocks of keys

  // Of the warps of both warpgroups.
  __device__ DsPart(DqShared<kHS>& of_block, int warp_index) : shared(of_block) {
    const int row = kTile * (warp_index / 4) + 16 * (warp_index % 4) + lane() % 16, chunk = lane() / 16 ^ lane() % 8;
    place = ptx::SharedAddress(&shared.ds[0].halves[0][row][chunk * 8]).value;
  }

  __device__ void share(Step step, const Fragment<64>& ds) {
    shared.ds_barriers.wait_empty(step);
    const unsigned to = place + step.stage() * sizeof shared.ds[0];
#pragma unroll
    for (int k = 0; k < 4; ++k) ptx::stmatrix(to ^ 32 * k, ds.x[k]);
    ptx::fence_proxy_async();
    warp_arrive(shared.ds_barriers.full[step.stage()]);
  }

  DqShared<kHS>& shared;
  unsigned place;  // where this lane stores
};

// The side of a warpgroup that sums dQ: 64 channels from channel 64 * half on.
template <int kHS>
struct DqPart {
  // Of a step, whose tile is tile_of_step().
  __device__ void sum(StepCursor<2> step, const KeyBlock& block, const SharedTile<kBlockRows, kHS>& k,
                      const auto& tile_of_step) {
    const int buffer = shared.buffer(step.count);
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
    ptx::mbarrier_wait(&shared.available[buffer], shared.turn(step.count) % 2);
    if (block.j0 > 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        store_vector(sum + 128 * i, float4{dq.x[4 * i], dq.x[4 * i + 1], dq.x[4 * i + 2], dq.x[4 * i + 3]});
      }
      ptx::fence_proxy_async();
      warp_arrive(shared.filled[buffer]);
      return;
    }
    const QueryTile own = tile_of_step();
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

  DqShared<kHS>& shared;
  const BackwardArguments& a;
  const int half, warp;
  Accumulator<64> dq;
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
__device__ void add_dq(DqShared<kHS>& shared, ItemQueue<kBuffers>& items, const BackwardArguments& a, int mine) {
  constexpr unsigned kBytes = sizeof shared.sums[0];
  StepCursor<kBuffers> at;
  StepCursor<2> step;
  OpenTurn open;
  for (;;) {
    const KeyBlock block(a, items.take_alone(at));
    if (block.is_none()) break;
#pragma unroll 1  // registers are few
    for (QueryTile tile(block); tile.is_valid(); tile.next(), step.next()) {
      if (shared.buffer(step.count) != mine) continue;
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
      ptx::mbarrier_wait(&shared.filled[mine], shared.turn(step.count) % 2);
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
