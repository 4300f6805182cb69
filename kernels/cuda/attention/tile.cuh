// A tile of kRows tokens of one head in shared memory, bf16, filled by cp.async and read by ldmatrix.
#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/ptx.cuh"

namespace glint::attention {

// Rows consist of chunks of 16 bytes, permuted so that the same chunk of eight consecutive rows, which ldmatrix reads
// at once, lies in eight different groups of four banks.
template <int kRows, int kHS>
struct SharedTile {
  static_assert(kRows % 16 == 0 && kHS % 32 == 0);
  static constexpr int kChunks = kHS / 8;
  struct alignas(16) Chunk {
    Bf16 elements[8];
  };

  __device__ Chunk& at(int row, int chunk) { return chunks[row][chunk ^ (kChunks % 8 == 0 ? row % 8 : row / 2 % 4)]; }
  __device__ const Chunk& at(int row, int chunk) const { return const_cast<SharedTile*>(this)->at(row, chunk); }

  Chunk chunks[kRows][kChunks];
};

inline constexpr int kWarps = 4, kThreads = 32 * kWarps;  // of a block, in every bf16 kernel

// Starts the copy of tokens [t, t + kRows) of one head; elements beyond its T tokens or HS channels become zero.
template <int kRows, int kHS>
__device__ inline void copy_tile(SharedTile<kRows, kHS>& tile, const HeadView<const Bf16>& from, int b, int t, int h,
                                 int T, int HS) {
  constexpr int kChunks = kHS / 8, kCopies = kRows * kChunks / kThreads;  // of a thread
  constexpr int kPeriod = kThreads % kChunks == 0 ? 1 : 3;                // copies after which its chunk returns
  constexpr int kStep = kPeriod * kThreads / kChunks;                     // rows in between
  static_assert(kRows * kChunks % kThreads == 0 && kPeriod * kThreads % kChunks == 0);
  const Bf16* head = from.at(b, t, h);
#pragma unroll
  for (int first = 0; first < kPeriod; ++first) {
    const unsigned index = first * kThreads + threadIdx.x;
    const int chunk = index % kChunks;
    int row = index / kChunks;
    const Bf16* source = head + row * from.token_stride + chunk * 8;  // one address, so that ptxas keeps one
#pragma unroll
    for (int i = first; i < kCopies; i += kPeriod, row += kStep, source += kStep * from.token_stride) {
      const bool valid = t + row < T && chunk * 8 < HS;
      ptx::cp_async(&tile.at(row, chunk), valid ? source : from.data, valid);
    }
  }
}

}  // namespace glint::attention
