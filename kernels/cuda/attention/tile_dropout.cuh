// Dropout of a tile of P: the mask of kernels/dropout.h, drawn in registers. One Philox call serves the 16 elements
// that a lane of an mma accumulator holds of a 16 x 32 block: word k is n_tile k (8 columns), its byte r element r.
#pragma once

#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/mma_tile.cuh"
#include "kernels/cuda/attention/philox.cuh"

namespace glint::attention {

// Sets the top bit of every byte of `random` that is above the threshold; the other bits are undefined. Exact: a sum
// compares the lower seven bits and carries into the eighth, which is then combined with that of `random`.
struct ByteCompare {
  GLINT_HOST_DEVICE explicit ByteCompare(uint32_t threshold)
      : addend((0x7fu - (threshold & 0x7fu)) * 0x01010101u), either(threshold < 128 ? ~0u : 0u) {}
  __device__ uint32_t above(uint32_t random) const {
    const uint32_t sum = (random & 0x7f7f7f7fu) + addend;
    return (random & sum) | ((random | sum) & either);
  }

  uint32_t addend, either;
};

// The mask of accumulator tiles of the same rows, which start at multiples of (16, 32). Empty if dropout is off.
template <int kRows, int kColumns, bool kDropout>
struct TileDropout {
  static_assert(kRows % 16 == 0 && kColumns % 32 == 0);

  __device__ TileDropout(const Dropout&, int, int, int, int) {}
  __device__ void draw(int) {}
  __device__ void apply(Fragment<kRows, kColumns>&) const {}
  __device__ void apply(Accumulator<kRows, kColumns>&) const {}
};

template <int kRows, int kColumns>
struct TileDropout<kRows, kColumns, true> {
  // Of rows `row`, row + 1, .. of head h of NH of sequence b.
  __device__ TileDropout(const Dropout& dropout, int b, int NH, int h, int row)
      : philox(dropout), keep(dropout.threshold) {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) rows[m_tile] = philox.row(b, NH, h, row / 16 + m_tile);
  }

  // Draws the mask of the tile that starts at `column`.
  __device__ void draw(int column) {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int block = 0; block < kColumns / 32; ++block) {
        philox.draw(random[m_tile][block], rows[m_tile], column / 32 + block);
      }
    }
  }
  // Zeroes dropped elements of packed P.
  __device__ void apply(Fragment<kRows, kColumns>& p) const {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          keep.apply(p.x[m_tile][k][r], random[m_tile][k / 2][2 * (k % 2) + r / 2], r % 2);
        }
      }
    }
  }
  // The same for unpacked numbers: dP.
  __device__ void apply(Accumulator<kRows, kColumns>& dp) const {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int n_tile = 0; n_tile < kColumns / 8; ++n_tile) {
        float(&x)[4] = dp.x[m_tile][n_tile];
        const uint32_t word = random[m_tile][n_tile / 4][n_tile % 4];
        keep.apply(x[0], x[1], word, 0);
        keep.apply(x[2], x[3], word, 1);
      }
    }
  }

  RowPhilox philox;
  RowPhilox::Row rows[kRows / 16];
  KeepPairs keep;
  uint32_t random[kRows / 16][kColumns / 32][4];
};

}  // namespace glint::attention
