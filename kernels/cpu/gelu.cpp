#include "kernels/gelu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/gelu_formula.h"

namespace glint {
namespace {

using simd::Floats;

struct VectorMath {
  using Number = Floats;
  static Floats constant(float value) { return simd::broadcast(value); }
  static Floats larger(Floats a, Floats b) { return simd::larger(a, b); }
  static Floats smaller(Floats a, Floats b) { return -simd::larger(-a, -b); }
  static Floats saturate(Floats x) { return smaller(constant(1.0f), larger(constant(0.0f), x)); }
  static Floats exp2(Floats x) { return simd::exp2(x); }
  static Floats quotient(Floats a, Floats b) { return a / b; }
};
using Formula = GeluFormula<VectorMath>;

// map(range) on the ranges of all threads.
template <typename Map>
void for_ranges(const CpuContext& ctx, size_t n, const Map& map) {
  parallel_ranges(ctx, n, 16, n, [&](Range range) { map(range.begin, range.end - range.begin); });
}

}  // namespace

template <typename Scalar>
void gelu_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, size_t n, Gelu kind) {
  for_ranges(ctx, n, [=](size_t at, size_t count) {
    if (kind == Gelu::erf) {
      simd::map(
          out + at, count, [](Floats value) { return Formula::erf_forward(value); }, x + at);
    } else {
      simd::map(
          out + at, count, [](Floats value) { return Formula::tanh_forward(value); }, x + at);
    }
  });
}

template <typename Scalar>
void gelu_backward(const CpuContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* x, size_t n, Gelu kind) {
  for_ranges(ctx, n, [=](size_t at, size_t count) {
    if (kind == Gelu::erf) {
      simd::map(
          dx + at, count, [](Floats d, Floats value) { return Formula::erf_backward(d, value); }, dout + at, x + at);
    } else {
      simd::map(
          dx + at, count, [](Floats d, Floats value) { return Formula::tanh_backward(d, value); }, dout + at, x + at);
    }
  });
}

template void gelu_forward(const CpuContext&, float*, const float*, size_t, Gelu);
template void gelu_forward(const CpuContext&, Bf16*, const Bf16*, size_t, Gelu);
template void gelu_backward(const CpuContext&, float*, const float*, const float*, size_t, Gelu);
template void gelu_backward(const CpuContext&, Bf16*, const Bf16*, const Bf16*, size_t, Gelu);

}  // namespace glint
