// Keep masks (kernels/dropout.h), 128 elements at a time from eight Philox counters. A mask is an array of bytes, 0xFF
// for keep and 0 for drop; simd::expand_bytes() expands them to float lanes for simd::keep_where():
//
//   const DropoutMask mask(dropout);
//   draw_row(keep, C, mask, b, t);                           // keep: C bytes, for the C channels of token t
//   y = keep_where(expand_bytes(keep + c), x) * mask.scale;  // kWidth channels from c
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/philox_simd.h"
#include "kernels/dropout.h"

namespace glint::simd {

// 0xFF in every byte to keep.
inline UInt8 keep_bytes(UInt8 random, uint32_t threshold) {
  typedef uint8_t Byte32 __attribute__((vector_size(32)));
  return (UInt8)((Byte32)random <= static_cast<uint8_t>(threshold));
}

// keep (n) for channels 0 .. n-1 of token t of sequence b of the micro-batch: draw_row() of kernels/dropout.h.
inline void draw_row(uint8_t* keep, int n, const DropoutMask& mask, uint64_t b, uint32_t t) {
  const uint64_t c = mask.offset + 32 * b;
  for (int first = 0; first < n; first += 128) {
    // Group first/16 + i is drawn by counter i: words x y z w of it serve channels 16*i + 0 4 8 12 .. +3.
    const Words group = Words{Word4{0, 2, 4, 6}, Word4{1, 3, 5, 7}} ^ static_cast<uint32_t>(first / 16);
    const PhiloxCounters random =
        philox4x32<7>({same(low_word(c)), same(high_word(c)), same(t), group}, philox_key(mask.seed));
    const UInt8 x = keep_bytes(low_words(random.x), mask.threshold),
                y = keep_bytes(low_words(random.y), mask.threshold);
    const UInt8 z = keep_bytes(low_words(random.z), mask.threshold),
                w = keep_bytes(low_words(random.w), mask.threshold);
    // Four vectors of eight groups -> eight groups of four words, in the order of the channels.
    const UInt8 xy0145 = __builtin_shufflevector(x, y, 0, 8, 1, 9, 4, 12, 5, 13);
    const UInt8 xy2367 = __builtin_shufflevector(x, y, 2, 10, 3, 11, 6, 14, 7, 15);
    const UInt8 zw0145 = __builtin_shufflevector(z, w, 0, 8, 1, 9, 4, 12, 5, 13);
    const UInt8 zw2367 = __builtin_shufflevector(z, w, 2, 10, 3, 11, 6, 14, 7, 15);
    const UInt8 group04 = __builtin_shufflevector(xy0145, zw0145, 0, 1, 8, 9, 4, 5, 12, 13);
    const UInt8 group15 = __builtin_shufflevector(xy0145, zw0145, 2, 3, 10, 11, 6, 7, 14, 15);
    const UInt8 group26 = __builtin_shufflevector(xy2367, zw2367, 0, 1, 8, 9, 4, 5, 12, 13);
    const UInt8 group37 = __builtin_shufflevector(xy2367, zw2367, 2, 3, 10, 11, 6, 7, 14, 15);
    const UInt8 kept[4] = {__builtin_shufflevector(group04, group15, 0, 1, 2, 3, 8, 9, 10, 11),
                           __builtin_shufflevector(group26, group37, 0, 1, 2, 3, 8, 9, 10, 11),
                           __builtin_shufflevector(group04, group15, 4, 5, 6, 7, 12, 13, 14, 15),
                           __builtin_shufflevector(group26, group37, 4, 5, 6, 7, 12, 13, 14, 15)};
    if (n - first >= 128) {
      std::memcpy(keep + first, kept, 128);
    } else {
      std::memcpy(keep + first, kept, static_cast<size_t>(n - first));
    }
  }
}

// The 16 x 32 block (block_row, block_column) of P, transposed: keep[j*stride + i] serves query 16*block_row + i and
// key 32*block_column + j. See draw_attention() of kernels/dropout.h.
inline void draw_attention_block(uint8_t* keep, int stride, const DropoutMask& mask, uint32_t block_row,
                                 uint32_t block_column) {
  typedef uint8_t Byte32 __attribute__((vector_size(32)));
  for (uint32_t quarter = 0; quarter < 4; ++quarter) {  // (j%8)/2
    // Lane 4*i + quarter is drawn by counter i and serves queries i and i+8.
    const uint64_t c = mask.offset + quarter;
    const Word4 even = Word4{0, 8, 16, 24} + c, odd = Word4{4, 12, 20, 28} + c;
    const PhiloxCounters random = philox4x32<7>(
        {{even, odd}, {even >> 32, odd >> 32}, same(block_row), same(block_column)}, philox_key(mask.seed));
    const UInt8 words[4] = {low_words(random.x), low_words(random.y), low_words(random.z), low_words(random.w)};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      // Bytes 0 1 2 3 of each word: (query i, key j), (i, j+1), (i+8, j), (i+8, j+1) with j = 8*k + 2*quarter.
      const Byte32 kept = (Byte32)keep_bytes(words[k], mask.threshold);
      const UInt8 by_byte =
          (UInt8)__builtin_shufflevector(kept, kept, 0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15, 16, 20, 24,
                                         28, 18, 22, 26, 30, 17, 21, 25, 29, 19, 23, 27, 31);
      const UInt8 by_key = __builtin_shufflevector(by_byte, by_byte, 0, 4, 1, 5, 2, 6, 3, 7);
      uint8_t* row = keep + (8 * k + 2 * static_cast<int>(quarter)) * stride;
      std::memcpy(row, &by_key, 16);
      std::memcpy(row + stride, reinterpret_cast<const char*>(&by_key) + 16, 16);
    }
  }
}

}  // namespace glint::simd
