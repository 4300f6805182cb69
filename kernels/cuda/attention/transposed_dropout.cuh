// Dropout of transposed tiles, (keys x queries), of which each warp of a block holds 16 keys. The mask is defined for
// the untransposed tile: warps draw it in that order, 16 queries each, and exchange it, a bit an element, through
// shared memory.
#pragma once

#include "kernels/cuda/attention/tile_dropout.cuh"

namespace glint::attention {

// The mask of 64 queries x 64 keys. Word w of row place(l) is what lane l drew of queries 16w .. 16w+15: bit k of its
// byte r is element r of n_tile k, set if it is dropped.
struct alignas(16) MaskExchange {
  uint32_t words[32][4];

  // Such that lanes that read at the same time read from different banks.
  __device__ static int place(int lane) { return (lane & ~7) | ((lane ^ lane / 8) & 7); }
};

// A block's 64 keys stay, queries go by. Empty if dropout is off.
template <bool kDropout>
struct TransposedDropout {
  __device__ explicit TransposedDropout(const Dropout&) {}
};

template <>
struct TransposedDropout<true> {
  using Columns = ColumnPhilox::Columns;

  __device__ explicit TransposedDropout(const Dropout& dropout) : philox(dropout), compare(dropout.threshold) {
    compare.addend = ptx::uniform(compare.addend), compare.either = ptx::uniform(compare.either);
  }

  // Of keys j .. j + 63 of head h of NH of sequence b.
  __device__ Columns columns(int b, int NH, int h, int j) const { return philox.columns(b, NH, h, j / 32); }

  // This warp's part of the mask of queries i .. i + 63.
  __device__ void draw(MaskExchange& to, const Columns& known, int i) const {
    uint32_t random[2][4], bits = 0;
    philox.draw(random, known, i / 16 + warp());
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      bits = (compare.above(random[k / 4][k % 4]) & 0x80808080u) | (bits >> 1 & 0x7f7f7f7fu);
    }
    to.words[MaskExchange::place(lane())][warp()] = bits;
  }

  ColumnPhilox philox;
  ByteCompare compare;
};

// The mask of this warp's 16 keys x 64 queries. Element r of an n_tile is key 8 * (r / 2) + g and query
// 8 * n_tile + 2 * t + r % 2, which lane 4 * (2 * t + r % 2) + g / 2 has drawn. Empty if dropout is off.
template <bool kDropout>
struct TransposedMask {
  __device__ void load(const MaskExchange&) {}
  __device__ bool drops(int, int) const { return false; }
  __device__ void next_half() {}
};

template <>
struct TransposedMask<true> {
  __device__ void load(const MaskExchange& from) {
    uint32_t thread = threadIdx.x;
    ptx::forget(thread);  // or ptxas would keep all that follows from it in registers that it lacks
    const uint32_t g = thread % 32 / 4, t = thread % 4, first = 2 * (thread / 32);
    const uint4 x = load_vector<uint4>(from.words[MaskExchange::place(8 * t + g / 2)]);
    const uint4 y = load_vector<uint4>(from.words[MaskExchange::place(8 * t + 4 + g / 2)]);
    // Of two words, the bytes of this lane's parity of key: four n_tiles. Of each, the two bits of this warp's keys.
    const auto take = [&](uint32_t a, uint32_t b, uint32_t to) {
      const uint32_t bytes = ptx::byte_permute(a, g % 2 ? 0x7531 : 0x6420, b);
      return __funnelshift_r(bytes, bytes, first - to);
    };
    const uint32_t low = (take(x.x, x.y, 0) & 0x33333333u) | (take(y.x, y.y, 2) & 0xccccccccu);
    const uint32_t high = (take(x.z, x.w, 4) & 0x33333333u) | (take(y.z, y.w, 6) & 0xccccccccu);
    bits = (low & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u);
    ptx::forget(bits);  // or they would be tested before they are put together; so seven at a time become predicates
  }
  // Element r of an n_tile below 8.
  __device__ bool drops(int n_tile, int r) const {
    return bits & 1u << (8 * (n_tile % 4) + 4 * (n_tile / 4) + 2 * (r % 2) + r / 2);
  }
  // Makes the upper 32 queries n_tiles 0 to 3.
  __device__ void next_half() { bits >>= 4; }

  uint32_t bits = 0;
};

}  // namespace glint::attention
