// Bf16 arrays by vectors of floats (kernels/cpu/simd.h). With these, loops over float arrays work for Bf16 too:
// they compute in fp32 and round when storing.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/bf16.h"
#include "kernels/cpu/simd.h"

namespace glint::simd {

typedef uint32_t UInts __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Shorts __attribute__((vector_size(2 * kWidth)));

inline Floats widen(Shorts bits) { return (Floats)(__builtin_convertvector(bits, UInts) << 16); }

// To nearest, ties to even; NaN stays NaN: to_bf16() of kernels/bf16.h, lane by lane.
inline Shorts narrow(Floats x) {
  const UInts bits = (UInts)x, upper = bits >> 16;
  const UInts rounded = (bits + 0x7fff + (upper & 1)) >> 16;
  const UInts nan = (UInts)((Ints)(bits & 0x7fffffff) > 0x7f800000);
  return __builtin_convertvector((rounded & ~nan) | ((upper | 0x40) & nan), Shorts);
}

inline Floats load(const Bf16* from) { return widen(load<Shorts>(from)); }
inline Float8 load8(const Bf16* from) {
  typedef uint16_t Short8 __attribute__((vector_size(16)));
  return (Float8)(__builtin_convertvector(load<Short8>(from), UInt8) << 16);
}
inline void store(Bf16* to, Floats value) {
  const Shorts bits = narrow(value);
  std::memcpy(static_cast<void*>(to), &bits, sizeof bits);
}

// n < kWidth elements, then zeros.
inline Floats load_first(const Bf16* from, size_t n) {
  Shorts bits{};
  std::memcpy(&bits, from, n * sizeof(Bf16));
  return widen(bits);
}
inline void store_first(Bf16* to, Floats value, size_t n) {
  const Shorts bits = narrow(value);
  std::memcpy(static_cast<void*>(to), &bits, n * sizeof(Bf16));
}

}  // namespace glint::simd
