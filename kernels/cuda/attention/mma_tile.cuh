// Matrix products of one warp on register tiles, by mma.m16n8k16. A register tile is cut into m_tiles of 16 rows and
// n_tiles of 8 columns; lane (g, t) = (lane / 4, lane % 4) holds these elements of each n_tile:
//   [0], [1]: row g, columns 2t, 2t+1        [2], [3]: row g + 8, the same columns.
#pragma once

#include "kernels/cuda/attention/tile.cuh"

namespace glint::attention {

__device__ inline int warp() { return threadIdx.x / 32; }
__device__ inline int lane() { return threadIdx.x % 32; }

template <int kRows, int kColumns>
struct Accumulator {
  static constexpr int kMTiles = kRows / 16, kNTiles = kColumns / 8;
  float x[kMTiles][kNTiles][4] = {};

  // Row and column of element r of an n_tile, within the tile.
  __device__ static int row(int m_tile, int r) { return 16 * m_tile + lane() / 4 + 8 * (r / 2); }
  __device__ static int column(int n_tile, int r) { return 8 * n_tile + 2 * (lane() % 4) + r % 2; }
};

// The left operand of a product, kRows x kDepth, in registers: an accumulator's layout, packed to bf16.
template <int kRows, int kDepth>
struct Fragment {
  uint32_t x[kRows / 16][kDepth / 16][4];
};

// 16 rows x 16 channels of a tile as a left operand.
template <int kTileRows, int kHS>
__device__ inline void load_left(uint32_t (&a)[4], const SharedTile<kTileRows, kHS>& tile, int row, int channel) {
  ptx::ldmatrix(a, &tile.at(row + lane() % 16, channel / 8 + lane() / 16));
}

// Accumulator rounded to bf16, so that P becomes the left operand of the next product.
template <int kRows, int kColumns>
__device__ inline void round_to(Fragment<kRows, kColumns>& to, const Accumulator<kRows, kColumns>& from) {
#pragma unroll
  for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float(&n_tile)[4] = from.x[m_tile][2 * k + r / 2];
        to.x[m_tile][k][r] = ptx::pack_bf16(n_tile[2 * (r % 2)], n_tile[2 * (r % 2) + 1]);
      }
    }
  }
}

// C (kRows x kColumns) += A B^T, rows of shared tiles, from a_row of A and b_row of B: Q K^T, dO V^T or their
// transposes.
template <int kRows, int kColumns, int kARows, int kBRows, int kHS>
__device__ inline void multiply_transposed(Accumulator<kRows, kColumns>& c, const SharedTile<kARows, kHS>& a, int a_row,
                                           const SharedTile<kBRows, kHS>& b, int b_row = 0) {
#pragma unroll
  for (int k = 0; k < kHS / 16; ++k) {
    uint32_t left[kRows / 16][4];
#pragma unroll
    for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) load_left(left[m_tile], a, a_row + 16 * m_tile, 16 * k);
#pragma unroll
    for (int n_tile = 0; n_tile < kColumns / 8; n_tile += 2) {
      uint32_t right[4];
      ptx::ldmatrix(right, &b.at(b_row + 8 * n_tile + lane() % 8 + lane() / 16 * 8, 2 * k + lane() / 8 % 2));
#pragma unroll
      for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
        ptx::mma(c.x[m_tile][n_tile], left[m_tile], {right[0], right[1]});
        ptx::mma(c.x[m_tile][n_tile + 1], left[m_tile], {right[2], right[3]});
      }
    }
  }
}

// C (kRows x kHS) += A B, with the rows of B from b_row: P V, dS K, or transposed P dO, transposed dS Q.
template <int kRows, int kDepth, int kBRows, int kHS>
__device__ inline void multiply(Accumulator<kRows, kHS>& c, const Fragment<kRows, kDepth>& a,
                                const SharedTile<kBRows, kHS>& b, int b_row = 0) {
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
    for (int n_tile = 0; n_tile < kHS / 8; n_tile += 2) {
      uint32_t right[4];
      ptx::ldmatrix_transposed(right, &b.at(b_row + 16 * k + lane() % 16, n_tile + lane() / 16));
#pragma unroll
      for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
        ptx::mma(c.x[m_tile][n_tile], a.x[m_tile][k], {right[0], right[1]});
        ptx::mma(c.x[m_tile][n_tile + 1], a.x[m_tile][k], {right[2], right[3]});
      }
    }
  }
}

// Rows of the tile, times `factor` (one for each half of an m_tile), to tokens t, t+1, .. of one head, up to T and HS.
template <int kRows, int kHS>
__device__ inline void store_rows(const HeadView<Bf16>& to, int b, int t, int h, int T, int HS,
                                  const Accumulator<kRows, kHS>& c, const float (&factor)[kRows / 16][2]) {
  using Tile = Accumulator<kRows, kHS>;
#pragma unroll
  for (int m_tile = 0; m_tile < kRows / 16; ++m_tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = t + Tile::row(m_tile, 2 * half);
      if (token >= T) continue;
      Bf16* row = to.at(b, token, h);
#pragma unroll
      for (int n_tile = 0; n_tile < kHS / 8; ++n_tile) {
        if (8 * n_tile >= HS) break;
        const float(&x)[4] = c.x[m_tile][n_tile];
        *reinterpret_cast<uint32_t*>(row + Tile::column(n_tile, 0)) =
            ptx::pack_bf16(x[2 * half] * factor[m_tile][half], x[2 * half + 1] * factor[m_tile][half]);
      }
    }
  }
}

}  // namespace glint::attention
