#include "kernels/qk_norm.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

// call(first element of a head, index of the head), for all heads.
template <typename Call>
void for_heads(const CpuContext& ctx, const QkNormShape& s, const Call& call) {
  const auto rows = static_cast<size_t>(s.rows), heads = static_cast<size_t>(s.heads);
  parallel_ranges(ctx, rows, 1, rows * heads * static_cast<size_t>(s.HS), [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row)
      for (size_t head = 0; head < heads; ++head)
        call(row * static_cast<size_t>(s.stride) + head * static_cast<size_t>(s.HS), row * heads + head);
  });
}

}  // namespace

template <typename Scalar>
void qk_norm_forward(const CpuContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape) {
  const auto n = static_cast<size_t>(shape.HS);
  for_heads(ctx, shape, [=](size_t at, size_t index) {
    const Scalar* const x = packed + at;
    const float squares = simd::sum_of(
        n, [](Floats value) { return value * value; }, x);
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(n) + shape.eps);
    rstd[index] = scale;
    simd::map(
        packed + at, n, [scale](Floats value) { return value * scale; }, x);
  });
}

// With y = x * rstd: dx = rstd * (dy - y * mean(dy * y)).
template <typename Scalar>
void qk_norm_backward(const CpuContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape) {
  const auto n = static_cast<size_t>(shape.HS);
  for_heads(ctx, shape, [=](size_t at, size_t index) {
    const Scalar *const dy = dpacked + at, *const y = packed + at;
    const float product = simd::sum_of(
        n, [](Floats a, Floats b) { return a * b; }, dy, y);
    const float mean = product / static_cast<float>(n), scale = rstd[index];
    simd::map(
        dpacked + at, n, [=](Floats a, Floats b) { return (a - b * mean) * scale; }, dy, y);
  });
}

template void qk_norm_forward(const CpuContext&, float*, float*, const QkNormShape&);
template void qk_norm_forward(const CpuContext&, Bf16*, float*, const QkNormShape&);
template void qk_norm_backward(const CpuContext&, float*, const float*, const float*, const QkNormShape&);
template void qk_norm_backward(const CpuContext&, Bf16*, const Bf16*, const float*, const QkNormShape&);

}  // namespace glint
