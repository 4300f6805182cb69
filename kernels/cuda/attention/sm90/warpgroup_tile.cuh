// Matrix products of a warpgroup by wgmma: 64 rows, 16 a warp, accumulated in registers; right operands are tiles that
// TMA has loaded. Register r of an accumulator is an element of
//   row 16 * warp + lane / 4 + 8 * (r / 2 % 2), column 8 * (r / 4) + 2 * (lane % 4) + r % 2.
#pragma once

#include "kernels/cuda/attention/online_softmax.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace glint::attention::sm90 {

// kRows tokens of one head in shared memory, by halves of 64 channels: 128 bytes a row, which is what the swizzle
// spans.
template <int kRows_, int kHS_>
struct alignas(1024) SharedTile {
  static constexpr int kRows = kRows_, kHS = kHS_, kHalves = kHS / 64;
  static constexpr unsigned kHalfBytes = kRows * 128, kBytes = kHalves * kHalfBytes;

  Bf16 halves[kHalves][kRows][64];
};

// A tile as an operand of wgmma, by the lower word of its descriptor: by rows (K-major: Q, K), or by columns (MN-major:
// V).
template <typename Tile>
struct Operand {
  __device__ uint64_t whole() const { return ptx::whole_descriptor(descriptor); }
  // Of the tile that many tiles behind this one.
  __device__ Operand next(int tiles) const { return {ptx::uniform(descriptor + tiles * (Tile::kBytes / 16))}; }

  uint32_t descriptor;
};

// The operand of a tile, from `row` on, read by rows (K-major) or by columns (MN-major).
template <int kRows, int kHS>
__device__ inline Operand<SharedTile<kRows, kHS>> operand(const SharedTile<kRows, kHS>& tile, int row = 0) {
  return {ptx::descriptor(&tile.halves[0][row], tile.kHalfBytes)};
}

template <int kColumns>
struct Accumulator {
  float x[kColumns / 2];

  // Row and column of register r, the row within the warp's 16.
  __device__ static int row(int r) { return lane() / 4 + 8 * (r / 2 % 2); }
  __device__ static int column(int r) { return 8 * (r / 4) + 2 * (lane() % 4) + r % 2; }
};

// The left operand of a product, 64 x kDepth, in registers: an accumulator's layout, packed to bf16.
template <int kDepth>
struct Fragment {
  uint32_t x[kDepth / 16][4];
};

template <int kColumns>
__device__ void round_to(Fragment<kColumns>& to, const Accumulator<kColumns>& from) {
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
    for (int r = 0; r < 4; ++r) to.x[k][r] = ptx::pack_bf16(from.x[8 * k + 2 * r], from.x[8 * k + 2 * r + 1]);
  }
}

// Issues C = A B^T, both in shared memory, with the first kColumns rows of B: Q K^T.
template <int kColumns, int kRows, int kHS>
__device__ void multiply_transposed(Accumulator<kColumns>& c, Operand<SharedTile<64, kHS>> a,
                                    Operand<SharedTile<kRows, kHS>> b) {
  constexpr int kAHalf = SharedTile<64, kHS>::kHalfBytes / 16, kBHalf = SharedTile<kRows, kHS>::kHalfBytes / 16;
  const uint64_t left = a.whole(), right = b.whole();
#pragma unroll
  for (int k = 0; k < kHS / 16; ++k) {  // 16 channels: 32 bytes, 2 units
    ptx::wgmma_ss<false, false>(c.x, left + k / 4 * kAHalf + k % 4 * 2, right + k / 4 * kBHalf + k % 4 * 2, k > 0);
  }
}

// Issues C += A B, with the first kDepth rows of B: P V.
template <int kDepth, int kRows, int kHS>
__device__ void multiply(Accumulator<kHS>& c, const Fragment<kDepth>& a, Operand<SharedTile<kRows, kHS>> b) {
  const uint64_t right = b.whole();
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {  // 16 rows: 2048 bytes, 128 units
    ptx::wgmma_rs<true>(c.x, a.x[k], right + k * 128, true);
  }
}

// A warp's 16 rows, each half times its factor, to tokens t, t+1, .. of one head, up to T and HS. The lanes of a quad
// trade pieces, so that each stores 16 bytes.
template <int kHS>
__device__ void store_rows(const HeadView<Bf16>& to, int b, int t, int h, int T, int HS, const Accumulator<kHS>& c,
                           const float (&factor)[2]) {
  uint32_t place = lane() % 4;
  ptx::forget(place);  // in a loop, what is derived from it would stay in registers
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = t + Accumulator<kHS>::row(2 * half);
#pragma unroll
    for (int channel = 0; channel < kHS; channel += 32) {
      uint32_t x[4];  // of columns channel + 8 * i + 2 * place
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &c.x[channel / 2 + 4 * i + 2 * half];
        x[i] = ptx::pack_bf16(pair[0] * factor[half], pair[1] * factor[half]);
      }
      // Transposes 4 x 4 over the quad: piece i of lane j becomes piece j of lane i.
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const uint32_t got = __shfl_xor_sync(0xffffffffu, place & 1 ? x[i] : x[i + 1], 1);
        (place & 1 ? x[i] : x[i + 1]) = got;
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t got = __shfl_xor_sync(0xffffffffu, place & 2 ? x[i] : x[i + 2], 2);
        (place & 2 ? x[i] : x[i + 2]) = got;
      }
      const int first = channel + 8 * static_cast<int>(place);
      if (token < T && first < HS) store_vector(to.at(b, token, h) + first, uint4{x[0], x[1], x[2], x[3]});
    }
  }
}

}  // namespace glint::attention::sm90
