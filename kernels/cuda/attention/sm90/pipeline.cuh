// How the warps of a block hand each other what lies in shared memory.
#pragma once

#include "kernels/cuda/attention/sm90/warpgroup_tile.cuh"

namespace glint::attention::sm90 {

// Where a warp is in stages that go round.
template <int kStages>
struct Cursor {
  __device__ int stage() const { return index; }
  __device__ unsigned parity() const { return odd; }
  __device__ void next() {
    if (++index == kStages) index = 0, odd ^= 1;
  }

  int index = 0;
  unsigned odd = 0;
};

// The same as a count, in one register, from which the places of other stages follow.
template <int kStages>
struct StepCursor {
  static_assert((kStages & (kStages - 1)) == 0);
  __device__ int stage() const { return count % kStages; }
  __device__ unsigned parity() const { return count / kStages % 2; }
  __device__ void next() { ++count; }

  unsigned count = 0;
};

// Lane 0 arrives for its warp, all of which is done.
__device__ inline void warp_arrive(uint64_t& barrier) {
  __syncwarp();
  if (lane() == 0) ptx::mbarrier_arrive(&barrier);
}

// The mbarriers of stages: a writer waits until a stage is empty, a reader until it is full. `at` is a cursor.
template <int kStages>
struct StageBarriers {
  // By one thread, with the numbers of arrivals that fill a stage and that empty it.
  __device__ void init(int writers, int readers) {
    for (int i = 0; i < kStages; ++i) ptx::mbarrier_init(&full[i], writers), ptx::mbarrier_init(&empty[i], readers);
  }
  __device__ void wait_full(auto at) { ptx::mbarrier_wait(&full[at.stage()], at.parity()); }
  __device__ void wait_empty(auto at) { ptx::mbarrier_wait(&empty[at.stage()], at.parity() ^ 1); }
  // By the one writer: that many bytes will be copied, and fill the stage.
  __device__ uint64_t& expect(auto at, unsigned bytes) {
    ptx::mbarrier_arrive_expect_tx(&full[at.stage()], bytes);
    return full[at.stage()];
  }
  // By a reading warp.
  __device__ void release(auto at) { warp_arrive(empty[at.stage()]); }

  uint64_t full[kStages], empty[kStages];
};

// Starts the copy of tokens t, t + 1, .. of one head, of as many as the map's boxes have.
template <int kRows, int kHS>
__device__ inline void load_tile(SharedTile<kRows, kHS>& tile, const CUtensorMap& map, uint64_t& full, int b, int t,
                                 int h) {
#pragma unroll 1
  for (int half = 0; half < kHS / 64; ++half) ptx::tma_load(tile.halves[half], &map, &full, half * 64, h, t, b);
}

// The items that a block takes, one after the other, from a counter in global memory. The thread that loads their tiles
// draws them and tells the others; kStages as the tiles that an item owns have.
template <int kStages>
struct ItemQueue {
  using Place = StepCursor<kStages>;

  // By one thread, with the number of warps and threads that take items.
  __device__ void init(int readers) { barriers.init(1, readers); }

  __device__ int draw(int* counter, Place at) {
    const int item = atomicAdd(counter, 1);
    barriers.wait_empty(at);
    items[at.stage()] = item;
    ptx::mbarrier_arrive(&barriers.full[at.stage()]);
    return item;
  }
  // By a warp.
  __device__ int take(Place at) {
    barriers.wait_full(at);
    const int item = static_cast<int>(ptx::uniform(items[at.stage()]));
    barriers.release(at);
    return item;
  }
  // By a single thread.
  __device__ int take_alone(Place at) {
    barriers.wait_full(at);
    const int item = items[at.stage()];
    ptx::mbarrier_arrive(&barriers.empty[at.stage()]);
    return item;
  }

  int items[kStages];
  StageBarriers<kStages> barriers;
};

}  // namespace glint::attention::sm90
