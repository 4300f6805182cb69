// Dropout of a tile of P: the mask of kernels/dropout.h, drawn in registers. One Philox call serves the 16 elements
// that a lane of an mma accumulator holds of a 16 x 32 block: word k is n_tile k (8 columns), its byte r element r.
#pragma once

#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/mma_tile.cuh"

namespace glint::attention {

// Sets the top bit of every byte of `random` that is above the threshold; the other bits are undefined. Exact: a sum
// compares the lower seven bits and carries into the eighth, which is then combined with that of `random`.
struct ByteCompare {
  __device__ explicit ByteCompare(uint32_t threshold)
      : addend((0x7fu - (threshold & 0x7fu)) * 0x01010101u), either(threshold < 128 ? ~0u : 0u) {}
  __device__ uint32_t above(uint32_t random) const {
    const uint32_t sum = (random & 0x7f7f7f7fu) + addend;
    return (random & sum) | ((random | sum) & either);
  }

  uint32_t addend, either;
};

// The mask of one head, drawn block by block.
struct HeadMask {
  __device__ HeadMask(const Dropout& dropout, int b, int NH, int h)
      : mask(dropout, NH, b, h), compare(dropout.threshold) {}

  // The drop bits (as ByteCompare has them) of this lane of block (row, column), in units of 16 rows and 32 columns.
  __device__ void draw(uint32_t (&drop)[4], int block_row, int block_column) const {
    const PhiloxCounter random = draw_attention(mask.seed, mask.offset, 0, block_row, block_column, lane());
    drop[0] = compare.above(random.x);
    drop[1] = compare.above(random.y);
    drop[2] = compare.above(random.z);
    drop[3] = compare.above(random.w);
  }

  DropoutMask mask;
  ByteCompare compare;
};

// The mask of an accumulator tile that starts at a multiple of (16, 32). Empty if dropout is off.
template <int kRows, int kColumns, bool kDropout>
struct TileDropout {
  static_assert(kRows % 16 == 0 && kColumns % 32 == 0);

  __device__ TileDropout(const Dropout&, int, int, int) {}
  __device__ void draw(int, int) {}
  __device__ void apply(Fragment<kRows, kColumns>&) const {}
  __device__ void apply(Accumulator<kRows, kColumns>&) const {}
};

template <int kRows, int kColumns>
struct TileDropout<kRows, kColumns, true> {
  __device__ TileDropout(const Dropout& dropout, int b, int NH, int h) : mask(dropout, b, NH, h) {}

  // Draws the mask of the tile that starts at (row, column).
  __device__ void draw(int row, int column) {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int block = 0; block < kColumns / 32; ++block) {
        mask.draw(drop[m_tile][block], row / 16 + m_tile, column / 32 + block);
      }
    }
  }
  // Zeroes dropped elements of packed P: the top bits of two bytes, spread over the halves of a register, are an AND
  // mask.
  __device__ void apply(Fragment<kRows, kColumns>& p) const {
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
      for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const uint32_t word = drop[m_tile][k / 2][2 * (k % 2) + r / 2];
          p.x[m_tile][k][r] &= ~ptx::byte_permute(word, r % 2 ? 0xbbaa : 0x9988);
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
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (drop[m_tile][n_tile / 4][n_tile % 4] & 0x80u << 8 * r) dp.x[m_tile][n_tile][r] = 0.0f;
        }
      }
    }
  }

  HeadMask mask;
  uint32_t drop[kRows / 16][kColumns / 32][4];
};

}  // namespace glint::attention
