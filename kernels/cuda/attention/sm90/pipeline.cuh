// How the warps of a block hand each other what lies in shared memory.
#pragma once

#include "kernels/cuda/attention/mma_tile.cuh"
#include "kernels/cuda/ptx_sm90.cuh"

namespace glint::attention::sm90 {

// Where a warp is in stages that go round.
template <int kStages>
struct Cursor {
  static_assert((kStages & (kStages - 1)) == 0);
  __device__ int stage() const { return count % kStages; }
  __device__ unsigned parity() const { return count / kStages % 2; }
  __device__ void next() { ++count; }
  __device__ Cursor before() const { return {count - 1}; }

  unsigned count = 0;
};

// One stage: a bit, for which there is room in a predicate.
template <>
struct Cursor<1> {
  __device__ int stage() const { return 0; }
  __device__ unsigned parity() const { return odd; }
  __device__ void next() { odd = !odd; }

  bool odd = false;
};

// Lane 0 arrives for its warp, all of which is done.
__device__ inline void warp_arrive(uint64_t& barrier) {
  __syncwarp();
  if (lane() == 0) ptx::mbarrier_arrive(&barrier);
}

// The mbarriers of stages: a writer waits until a stage is empty, a reader until it is full.
template <int kStages>
struct StageBarriers {
  // By one thread, with the numbers of arrivals that fill a stage and that empty it.
  __device__ void init(int writers, int readers) {
    for (int i = 0; i < kStages; ++i) ptx::mbarrier_init(&full[i], writers), ptx::mbarrier_init(&empty[i], readers);
  }
  __device__ void wait_full(Cursor<kStages> at) { ptx::mbarrier_wait(&full[at.stage()], at.parity()); }
  __device__ void wait_empty(Cursor<kStages> at) { ptx::mbarrier_wait(&empty[at.stage()], at.parity() ^ 1); }
  // By a reading warp.
  __device__ void release(Cursor<kStages> at) { warp_arrive(empty[at.stage()]); }

  uint64_t full[kStages], empty[kStages];
};

// The items that a block takes, one after the other, from a counter in global memory. The thread that loads their tiles
// draws them and tells the others; kStages as the tiles that an item owns have.
template <int kStages>
struct ItemQueue {
  using Place = Cursor<kStages>;

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
