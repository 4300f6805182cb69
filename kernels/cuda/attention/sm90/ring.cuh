// A ring of tiles in shared memory, which a producer loads and consumers read. Each stage has two mbarriers: a phase of
// `full` ends when a tile has been loaded, one of `empty` when its readers have released it.
#pragma once

#include "kernels/cuda/attention/sm90/warpgroup_tile.cuh"

namespace glint::attention::sm90 {

// Where a producer or consumer is. All of them go round alike.
template <int kStages>
struct RingPlace {
  __device__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }

  int stage = 0;
  unsigned parity = 0;
};

template <int kStages>
struct RingBarriers {
  uint64_t full[kStages], empty[kStages];
};

template <typename Tile, int kStages>
struct Ring {
  using Place = RingPlace<kStages>;

  __device__ unsigned full(const Place& at) const { return barriers + 8 * at.stage; }
  __device__ unsigned empty(const Place& at) const { return barriers + 8 * (kStages + at.stage); }

  // By one thread, before any other call.
  __device__ void init(int consumer_warps) const {
    for (Place at; at.parity == 0; at.advance()) {
      ptx::mbarrier_init(full(at), 1);
      ptx::mbarrier_init(empty(at), consumer_warps);
    }
  }

  // The producer's side, one thread: tokens t, t + 1, .. of one head.
  __device__ void wait_empty(const Place& at) const { ptx::mbarrier_wait(empty(at), at.parity ^ 1); }
  __device__ void load(const Place& at, const CUtensorMap& map, int b, int t, int h) const {
    ptx::mbarrier_arrive_expect_tx(full(at), Tile::kBytes);
#pragma unroll
    for (int half = 0; half < Tile::kHalves; ++half) {
      ptx::tma_load(tiles + at.stage * Tile::kBytes + half * Tile::kHalfBytes, &map, full(at), half * 64, h, t, b);
    }
  }

  // A consumer warp's side.
  __device__ void wait_full(const Place& at) const { ptx::mbarrier_wait(full(at), at.parity); }
  __device__ Operand<Tile> tile(const Place& at) const {
    return {ptx::uniform(first + at.stage * (Tile::kBytes / 16))};
  }
  __device__ void release(const Place& at) const {  // all lanes are done with it
    if (lane() == 0) ptx::mbarrier_arrive(empty(at));
  }

  unsigned tiles, barriers;  // addresses
  uint32_t first;            // descriptor of the first tile
};

}  // namespace glint::attention::sm90
