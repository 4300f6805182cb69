// Attention backward in bf16 for Hopper: FlashAttention-2's Algorithm 2. The formulas are those of ../backward.cuh.
// A block of threads owns keys. It sums their dK and dV, and adds their part of dQ to a sum in global memory, for which
// blocks of keys wait for one another: the order of the sum is fixed, so that results are bitwise repeatable.
// A block has a warpgroup of which single threads copy tiles and two that multiply, each with kTile of the block's
// kBlockRows keys; of 64 channels, one more for dQ. Blocks are persistent: they take items, blocks of keys, from a
// counter. In a step of a multiplying warpgroup, a tile of queries, the tensor cores work on the next step's S and dP,
// or on this one's dK and dV, while the others of its instructions draw the mask and work out P and dS.
#pragma once

#include "kernels/causal_range.h"
#include "kernels/cuda/attention/sm90/pipeline.cuh"
#include "kernels/cuda/attention/tile_dropout.cuh"

namespace glint::attention::sm90 {

inline constexpr int kTile = 64;        // keys of a warpgroup, and queries of a step
inline constexpr int kBlockRows = 128;  // keys of a block of threads
inline constexpr int kConsumerWarps = 8;

// Warpgroups of a block and registers of their threads. A block starts with the same number of registers for every
// thread, and they are all it has. A warpgroup of its own for dQ makes backward 4 to 7% faster with dropout, 1% slower
// to 3% faster without (64 channels, an H200, 28 November 2026); 128 channels leave no registers for it.
template <int kHS>
struct Warpgroups {
  static constexpr bool kDq = kHS == 64;
  static constexpr int kThreads = kDq ? 512 : 384;
  static constexpr int kLoader = 24, kConsumer = kDq ? 208 : 240, kDqRegisters = 72;
  static_assert(kLoader + 2 * kConsumer + (kDq ? kDqRegisters : 0) == (kDq ? 4 * 128 : 3 * 168));
};

// What the products need to know of two neighbouring queries.
struct QueryPair {
  float lse2[2];   // lse * log2(e); infinite beyond T, so that P = 0
  float delta[2];  // D
};

// Arrays in the scratch of a call; tiles = T / kTile, rounded up.
struct BackwardScratch {
  int* items_taken;
  QueryPair* queries;  // (B, NH, tiles, kTile / 2)
  float* dq;           // (B, NH, tiles, kTile * head size), sums of dQ, as accumulators lie
  int* turns;          // (B, NH, tiles), how many blocks of keys have added to a sum
};

struct BackwardArguments {
  __device__ const AttentionShape& shape() const { return call.shape; }
  __device__ int tiles() const { return (call.shape.T + kTile - 1) / kTile; }
  __device__ int tile_index(int b, int h, int t) const { return (b * call.shape.NH + h) * tiles() + t / kTile; }
  __device__ QueryPair* queries(int b, int h, int t) const {
    return scratch.queries + int64_t{tile_index(b, h, t)} * (kTile / 2) + t % kTile / 2;
  }

  CUtensorMap q, k, v, dout;  // boxes of kTile queries, of kBlockRows keys
  AttentionBackward<Bf16> call;
  CausalRange range;
  ByteCompare compare;
  float scale2;  // scale * log2(e)
  int group;     // query heads of a key head
  int section;   // key heads whose blocks take turns
  BackwardScratch scratch;
};

// Keeps ptxas from moving the computation of x behind the wait that follows, as it would: x is used in a branch, which
// is never taken.
__device__ inline void hold(const Accumulator<64>& x, const BackwardArguments& a) {
  if (a.group > 0) return;
#pragma unroll
  for (int r = 0; r < 32; r += 4) {
    const auto bits = [&](int i) { return __float_as_uint(x.x[r + i]); };
    ptx::store_shared(0u, uint4{bits(0), bits(1), bits(2), bits(3)});
  }
}

// Issues C (64 x 64) = A B^T, A 64 rows of a tile.
template <int kRows, int kHS>
__device__ inline void multiply_transposed(Accumulator<64>& c, Operand<SharedTile<kRows, kHS>> a,
                                           Operand<SharedTile<64, kHS>> b) {
  constexpr int kAHalf = SharedTile<kRows, kHS>::kHalfBytes / 16, kBHalf = SharedTile<64, kHS>::kHalfBytes / 16;
  const uint64_t left = a.whole(), right = b.whole();
#pragma unroll
  for (int k = 0; k < kHS / 16; ++k) {
    ptx::wgmma_ss<false, false>(c.x, left + k / 4 * kAHalf + k % 4 * 2, right + k / 4 * kBHalf + k % 4 * 2, k > 0);
  }
}

}  // namespace glint::attention::sm90
