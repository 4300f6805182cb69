// A ring of tiles in shared memory between the warp that loads them and the warpgroups that read them. Each stage has
// two mbarriers: `full`, of which a phase ends when a tile has been loaded, and `empty`, when its readers released it.
#pragma once

#include "kernels/cuda/attention/sm90/warpgroup_tile.cuh"

namespace glint::attention::sm90 {

// Where one of the two sides stands. Both go round alike.
template <int kStages>
struct RingPlace {
  __device__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }

  int stage = 0;
  unsigned parity = 0;
};

// What lies in shared memory.
template <typename Tile, int kStages>
struct RingTiles {
  Tile tiles[kStages];
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

  // By one thread, before any other call. Each reader is a warp.
  __device__ void init(int readers) const {
    for (Place at; at.parity == 0; at.advance()) {
      ptx::mbarrier_init(full(at), 1);
      ptx::mbarrier_init(empty(at), readers);
    }
  }

  // The loading thread's side: tokens t, t + 1, .. of one head.
  __device__ void wait_empty(const Place& at) const { ptx::mbarrier_wait(empty(at), at.parity ^ 1); }
  __device__ void load(const Place& at, const CUtensorMap& map, int b, int t, int h) const {
    ptx::mbarrier_arrive_expect_tx(full(at), Tile::kBytes);
#pragma unroll
    for (int half = 0; half < Tile::kHalves; ++half) {
      ptx::tma_load(tiles + at.stage * Tile::kBytes + half * Tile::kHalfBytes, &map, full(at), half * 64, h, t, b);
    }
  }

  // The readers' side.
  __device__ void wait_full(const Place& at) const { ptx::mbarrier_wait(full(at), at.parity); }
  __device__ Operand<Tile> tile(const Place& at) const {
    return {ptx::uniform(first + at.stage * (Tile::kBytes / 16))};
  }
  __device__ void release(const Place& at) const {  // all lanes of the warp must be done with it
    if (lane() == 0) ptx::mbarrier_arrive(empty(at));
  }

  unsigned tiles, barriers;  // addresses
  uint32_t first;            // descriptor of the first tile
};

}  // namespace glint::attention::sm90
