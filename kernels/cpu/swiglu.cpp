#include "kernels/swiglu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

constexpr float kLog2E = 1.4426950408889634f;

// Below -87 the exponential is near infinity, and x sigmoid(x) nothing.
Floats bounded(Floats x) { return simd::larger(simd::broadcast(-87.0f), x); }
Floats sigmoid(Floats x) { return 1.0f / (1.0f + simd::exp2(-x * kLog2E)); }

template <typename Map>
void for_rows(const CpuContext& ctx, int rows, int H, const Map& map) {
  const auto n = static_cast<size_t>(rows), width = static_cast<size_t>(H);
  parallel_ranges(ctx, n, 1, 2 * n * width, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) map(row * width);
  });
}

}  // namespace

template <typename Scalar>
void swiglu_forward(const CpuContext& ctx, Scalar* out, const Scalar* packed, int rows, int H) {
  const auto width = static_cast<size_t>(H);
  for_rows(ctx, rows, H, [=](size_t at) {
    simd::map(
        out + at, width, [](Floats gate, Floats up) { return bounded(gate) * sigmoid(bounded(gate)) * up; },
        packed + 2 * at, packed + 2 * at + width);
  });
}

template <typename Scalar>
void swiglu_backward(const CpuContext& ctx, Scalar* packed, const Scalar* dout, int rows, int H) {
  const auto width = static_cast<size_t>(H);
  for_rows(ctx, rows, H, [=](size_t at) {
    Scalar *const gates = packed + 2 * at, *const ups = gates + width;
    const auto gradients = [](Floats x, Floats up, Floats d, auto store_to) {
      const Floats gate = bounded(x), s = sigmoid(gate);
      store_to(d * up * s * (1.0f + gate * (1.0f - s)), d * gate * s);
    };
    size_t i = 0;
    for (; i + simd::kWidth <= width; i += simd::kWidth)
      gradients(simd::load(gates + i), simd::load(ups + i), simd::load(dout + at + i),
                [&](Floats a, Floats b) { simd::store(gates + i, a), simd::store(ups + i, b); });
    if (const size_t left = width - i)
      gradients(
          simd::load_first(gates + i, left), simd::load_first(ups + i, left), simd::load_first(dout + at + i, left),
          [&](Floats a, Floats b) { simd::store_first(gates + i, a, left), simd::store_first(ups + i, b, left); });
  });
}

template void swiglu_forward(const CpuContext&, float*, const float*, int, int);
template void swiglu_forward(const CpuContext&, Bf16*, const Bf16*, int, int);
template void swiglu_backward(const CpuContext&, float*, const float*, int, int);
template void swiglu_backward(const CpuContext&, Bf16*, const Bf16*, int, int);

}  // namespace glint
