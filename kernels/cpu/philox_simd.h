// Philox4x32 (kernels/philox.h) on eight counters at once.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/philox.h"

namespace glint::simd {

typedef uint64_t Word4 __attribute__((vector_size(32)));

// Eight 32-bit words, each in the low half of a 64-bit lane, as x86's multiply expects them; the high half is
// ignored. Lanes 0 2 4 6 and 1 3 5 7 are separate, so that low_words() is one shift and or.
struct Words {
  Word4 even, odd;
};

inline Word4 multiply(Word4 words, uint32_t factor) {
#if defined(__AVX2__)
  return (Word4)_mm256_mul_epu32((__m256i)words, _mm256_set1_epi64x(factor));
#else
  return (words & 0xFFFFFFFFu) * factor;
#endif
}
inline Words multiply(Words words, uint32_t factor) {
  return {multiply(words.even, factor), multiply(words.odd, factor)};
}
inline Words operator^(Words a, Words b) { return {a.even ^ b.even, a.odd ^ b.odd}; }
inline Words operator^(Words a, uint32_t b) { return {a.even ^ b, a.odd ^ b}; }
inline Words high_words(Words products) { return {products.even >> 32, products.odd >> 32}; }
inline UInt8 low_words(Words words) { return (UInt8)((words.even & 0xFFFFFFFFu) | (words.odd << 32)); }

// The same word in every lane.
inline Words same(uint32_t value) { return {Word4{} + value, Word4{} + value}; }

struct PhiloxCounters {
  Words x, y, z, w;
};

template <int kRounds>
inline PhiloxCounters philox4x32(PhiloxCounters c, PhiloxKey k) {
#pragma GCC unroll 10
  for (int round = 0; round < kRounds; ++round) {
    const Words p0 = multiply(c.x, kPhiloxMultiplier0);
    const Words p1 = multiply(c.z, kPhiloxMultiplier1);
    c = {high_words(p1) ^ c.y ^ k.x, p1, high_words(p0) ^ c.w ^ k.y, p0};
    k = {k.x + kPhiloxWeyl0, k.y + kPhiloxWeyl1};
  }
  return c;
}

}  // namespace glint::simd
