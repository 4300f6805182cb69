// Loops over arrays of float or Bf16 by vectors of floats, with the elements past the last whole vector.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/cpu/bf16_simd.h"
#include "kernels/cpu/simd.h"

namespace glint::simd {

// n < kWidth elements, then zeros.
inline Floats load_first(const float* from, size_t n) {
  Floats value{};
  std::memcpy(&value, from, n * sizeof(float));
  return value;
}
inline void store_first(float* to, Floats value, size_t n) { std::memcpy(to, &value, n * sizeof(float)); }

// out[i] = op(in[i]...) for i < n; out may be one of in.
template <typename Out, typename Op, typename... In>
inline void map(Out* out, size_t n, const Op& op, const In*... in) {
  size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(out + i, op(load(in + i)...));
  if (i < n) store_first(out + i, op(load_first(in + i, n - i)...), n - i);
}

// The same with two results: {first[i], second[i]} = op(in[i]...).
struct TwoFloats {
  Floats first, second;
};
template <typename Out, typename Op, typename... In>
inline void map_two(Out* first, Out* second, size_t n, const Op& op, const In*... in) {
  size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const TwoFloats out = op(load(in + i)...);
    store(first + i, out.first), store(second + i, out.second);
  }
  if (const size_t left = n - i) {
    const TwoFloats out = op(load_first(in + i, left)...);
    store_first(first + i, out.first, left), store_first(second + i, out.second, left);
  }
}

// Sum over i < n of op(in[i]...), with op(0...) == 0: four running vectors hide the latency of the adds.
template <typename Op, typename... In>
inline float sum_of(size_t n, const Op& op, const In*... in) {
  Floats total[4] = {};
  size_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    for (int k = 0; k < 4; ++k) total[k] += op(load(in + i + k * kWidth)...);
  }
  for (; i + kWidth <= n; i += kWidth) total[0] += op(load(in + i)...);
  if (i < n) total[1] += op(load_first(in + i, n - i)...);
  return sum((total[0] + total[1]) + (total[2] + total[3]));
}

// Inner product of n numbers, a multiple of 8.
template <typename Scalar>
float dot(const Scalar* a, const Scalar* b, int n) {
  Float8 sums{};
  for (int i = 0; i < n; i += 8) sums += load8(a + i) * load8(b + i);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

}  // namespace glint::simd
