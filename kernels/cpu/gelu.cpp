#include "kernels/gelu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

constexpr float kLog2E = 1.44269504f;

// The smaller of each pair; b where either is NaN.
inline Floats smaller(Floats a, Floats b) { return -simd::larger(-a, -b); }

// c0 + c1*z + c2*z^2 ...
template <size_t kCount>
inline Floats polynomial(Floats z, const float (&c)[kCount]) {
  Floats value = z * c[kCount - 1] + c[kCount - 2];
#pragma GCC unroll 8
  for (size_t i = kCount - 2; i > 0; --i) value = value * z + c[i - 1];
  return value;
}

// Phi(x) - 1/2 and gelu'(x) - 1/2 are odd: x times a rational function of x*x, fitted for least relative error over the
// range where they are not yet +-1/2 in float (1.7e-8 up to |x| = 5.5, and 2.4e-7 up to 5.8; evaluated in float both
// come to 1.5e-7 and 2.7e-7, absolute). Half the work of erf and exp.
inline Floats erf_forward(Floats x) {
  static constexpr float kP[] = {0.398942262f,     0.0334576778f,    0.00465140678f,
                                 0.000164561556f, 6.30151771e-06f, 2.29321131e-08f};
  static constexpr float kQ[] = {1.0f, 0.250532359f, 0.0284154322f, 0.00186057622f, 7.21632096e-05f, 1.19905144e-06f};
  const Floats z = smaller(simd::broadcast(5.5f * 5.5f), x * x);
  const Floats normal = 0.5f + x * polynomial(z, kP) / polynomial(z, kQ);  // Phi(x); beyond the range it runs out of [0, 1]
  return x * smaller(simd::broadcast(1.0f), simd::larger(simd::broadcast(0.0f), normal));
}

inline Floats erf_backward(Floats dout, Floats x) {
  static constexpr float kP[] = {0.797884762f,     -0.0308292694f,   0.0142169641f,
                                 2.24438154e-05f, 3.59084333e-05f, 1.91778796e-07f};
  static constexpr float kQ[] = {1.0f, 0.294699043f, 0.0410375185f, 0.00352667086f, 0.000193097585f, 8.91675154e-06f};
  const Floats limit = simd::broadcast(5.8f), inner = smaller(limit, simd::larger(-limit, x)), z = inner * inner;
  return dout * (0.5f + inner * polynomial(z, kP) / polynomial(z, kQ));
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)) with u = sqrt(2/pi) * (x + 0.044715 * x^3).
constexpr float kTwoRoot = 1.59576912f;  // 2 * sqrt(2/pi)
constexpr float kCubic = 0.044715f;

// The gate s = 1 / (1 + e), and 1 - s = e * s without cancellation.
struct Gate {
  Floats open, closed;
};

inline Gate gate(Floats x) {
  const Floats exponent = x * (x * x * kCubic + 1.0f) * (-kTwoRoot * kLog2E);
  const Floats e = simd::exp2(smaller(simd::broadcast(126.0f), exponent));
  const Floats open = 1.0f / (1.0f + e);
  return {open, e * open};
}

inline Floats tanh_forward(Floats x) { return x * gate(x).open; }

inline Floats tanh_backward(Floats dout, Floats x) {
  const Floats limit = simd::broadcast(16.0f);  // beyond it the slope is 0 or 1 and x^3 only overflows
  const Floats inner = smaller(limit, simd::larger(-limit, x));
  const Gate g = gate(inner);
  return dout * (g.open + inner * (g.open * g.closed) * (kTwoRoot + 3.0f * kTwoRoot * kCubic * (inner * inner)));
}

// map(part of the arrays), the arrays shared among the threads.
template <typename Map>
void for_ranges(const CpuContext& ctx, size_t n, const Map& map) {
  parallel_ranges(ctx, n, 16, n, [&](Range range) { map(range.begin, range.end - range.begin); });
}

}  // namespace

void gelu_forward(const CpuContext& ctx, float* out, const float* x, size_t n, Gelu kind) {
  for_ranges(ctx, n, [=](size_t at, size_t count) {
    if (kind == Gelu::erf) {
      simd::map(out + at, count, [](Floats value) { return erf_forward(value); }, x + at);
    } else {
      simd::map(out + at, count, [](Floats value) { return tanh_forward(value); }, x + at);
    }
  });
}

void gelu_backward(const CpuContext& ctx, float* dx, const float* dout, const float* x, size_t n, Gelu kind) {
  for_ranges(ctx, n, [=](size_t at, size_t count) {
    if (kind == Gelu::erf) {
      simd::map(dx + at, count, [](Floats d, Floats value) { return erf_backward(d, value); }, dout + at, x + at);
    } else {
      simd::map(dx + at, count, [](Floats d, Floats value) { return tanh_backward(d, value); }, dout + at, x + at);
    }
  });
}

}  // namespace glint
