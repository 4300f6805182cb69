// Vectors of this build's SIMD width, with the vector extensions of GCC and Clang: operators work lane by lane, and
// a * b + c becomes one fused multiply-add.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__clang__) && !defined(__AVX2__)
#pragma clang diagnostic ignored "-Wpsabi"  // vectors wider than a register never cross a binary interface
#endif

namespace glint::simd {

#if defined(__AVX512F__) && defined(__AVX512BW__)
inline constexpr int kWidth = 16, kRegisters = 32;
#elif defined(__AVX2__)
inline constexpr int kWidth = 8, kRegisters = 16;
#else
inline constexpr int kWidth = 4, kRegisters = 16;
#endif

typedef float Float8 __attribute__((vector_size(32)));
typedef int32_t Int8 __attribute__((vector_size(32)));
typedef uint32_t UInt8 __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(4 * kWidth)));  // kWidth of them: one register
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));

template <typename Vector, typename Scalar>
inline Vector load(const Scalar* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);  // no alignment required
  return value;
}
inline Floats load(const float* from) { return load<Floats>(from); }
inline Float8 load8(const float* from) { return load<Float8>(from); }

template <typename Scalar, typename Vector>
inline void store(Scalar* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

// The same number in every lane. (Subtracts 0: that keeps -0, so the compiler can drop it.)
template <typename Vector = Floats>
inline Vector broadcast(float value) {
  return value - Vector{};
}

// Bits as another type, lane by lane.
inline Ints as_ints(Floats x) { return (Ints)x; }
inline Floats as_floats(Ints x) { return (Floats)x; }

// x where the mask's lane is all ones, 0 where it is 0.
inline Floats keep_where(Ints mask, Floats x) { return as_floats(as_ints(x) & mask); }
inline Floats select(Ints mask, Floats yes, Floats no) {
  return as_floats((as_ints(yes) & mask) | (as_ints(no) & ~mask));
}

// The larger of each pair; b where either is NaN, so that a NaN in b survives.
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
  return _mm512_maskz_max_ps(0xFFFF, a, b);  // the unmasked form makes g++ 12 warn
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return select(a > b, a, b);
#endif
}

// kWidth bytes, each 0xFF or 0, as a mask of 32-bit lanes.
inline Ints expand_bytes(const uint8_t* bytes) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
  return (Ints)_mm512_maskz_cvtepi8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
#else
  typedef int8_t Bytes __attribute__((vector_size(kWidth)));
  return __builtin_convertvector(load<Bytes>(bytes), Ints);
#endif
}

// Ones in the first `count` lanes (none if negative), zeros in the others.
inline Ints first_lanes(int count) {
  Ints lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
  return lane < count;
}

inline float sum(Floats x) {
  float total = 0.0f;
  for (int lane = 0; lane < kWidth; ++lane) total += x[lane];
  return total;
}

// 2^x to 1.5 units in the last place, 0 below 2^-126, NaN of a NaN; for x up to 127.
// x = n + f with n whole and |f| <= 1/2; 2^f by a polynomial, 2^n by writing n into the exponent's bits.
inline Floats exp2(Floats x) {
  constexpr float kRound = 12582912.0f + 127.0f;  // 1.5 * 2^23: adding it leaves n + 127 in the low bits
  x = larger(broadcast(-127.0f), x);
  const Floats shifted = x + kRound;
  const Floats f = x - (shifted - kRound), f2 = f * f;
  // Minimax in relative error (2e-9), with 2^0 = 1 exact; in pairs, for short dependency chains.
  const Floats c01 = f * 0.6931472f + 1.0f, c23 = f * 0.055503324f + 0.24022648f;
  const Floats c456 = f2 * 0.00015353362f + (f * 0.0013398874f + 0.009618437f);
  const Floats power = c01 + f2 * (c23 + f2 * c456);
  return power * as_floats(as_ints(shifted) << 23);
}

// log2 of positive normal numbers to 2.3 units in the last place, NaN of NaN and infinity.
// x = m * 2^n with m from about sqrt(1/2) to sqrt(2); log2(m) = 2/ln(2) * artanh((m - 1) / (m + 1)), its series.
inline Floats log2(Floats x) {
  constexpr int kRootHalf = 0x3f3504f3;  // the bits of sqrt(1/2)
  const Ints n = (as_ints(x) - kRootHalf) >> 23;
  const Floats m = as_floats(as_ints(x) - (n << 23));
  const Floats t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
  const Floats series =
      2.88539008f + t2 * (0.961796694f + t2 * (0.577078016f + t2 * (0.412198583f + t2 * 0.320598898f)));
  return __builtin_convertvector(n, Floats) + t * series + (x - x);  // restores NaN
}

}  // namespace glint::simd
