#include "kernels/swiglu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats, simd::TwoFloats;

constexpr float kLog2E = 1.4426950408889634f;

// Below -87, where x sigmoid(x) is about -1e-36, exp(-x) comes near the end of fp32's range. A NaN stays.
Floats bounded(Floats x) { return simd::larger(simd::broadcast(-87.0f), x); }
Floats sigmoid(Floats x) { return 1.0f / (1.0f + simd::exp2(-x * kLog2E)); }

// map(row * H) for every row.
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
    const auto gradients = [](Floats x, Floats up, Floats d) -> TwoFloats {
      const Floats gate = bounded(x), s = sigmoid(gate);
      return {d * up * s * (1.0f + gate * (1.0f - s)), d * gate * s};
    };
    simd::map_two(gates, ups, width, gradients, gates, ups, dout + at);
  });
}

template void swiglu_forward(const CpuContext&, float*, const float*, int, int);
template void swiglu_forward(const CpuContext&, Bf16*, const Bf16*, int, int);
template void swiglu_backward(const CpuContext&, float*, const float*, int, int);
template void swiglu_backward(const CpuContext&, Bf16*, const Bf16*, int, int);

}  // namespace glint
