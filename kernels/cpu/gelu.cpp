#include "kernels/gelu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

constexpr float kLog2E = 1.44269504f;

// The normal distribution function Phi(x) and exp(-x*x/2), which both it and its density need.
struct Normal {
  Floats cumulative, exponential;
};

// Phi(-a) = exp(-a*a/2) * g(a) for a >= 0, where g falls slowly from 1/2: g is t times a polynomial in t = 1 / (1 + 0.27*a),
// fitted for least relative error (2.4e-8) on 0 <= a <= 14. So the small values of the negative side keep their
// precision, which 1 + erf(x) would cancel away.
inline Normal normal(Floats x) {
  const Floats a = simd::larger(-x, x);
  const Floats t = 1.0f / (a * 0.27f + 1.0f);
  Floats g = t * 0.0289153922f - 0.12625581f;
  g = g * t + 0.16929251f;
  g = g * t - 0.0686222464f;
  g = g * t + 0.107400298f;
  g = g * t + 0.0722399279f;
  g = g * t + 0.101759262f;
  g = g * t + 0.107550494f;
  g = g * t + 0.107720189f;
  const Floats exponential = simd::exp2(x * x * (-0.5f * kLog2E));
  const Floats tail = exponential * (g * t);
  return {simd::select(x < 0.0f, tail, 1.0f - tail), exponential};
}

inline Floats erf_forward(Floats x) { return x * normal(x).cumulative; }

inline Floats erf_backward(Floats dout, Floats x) {
  constexpr float kInverseRootTwoPi = 0.398942280f;
  const Normal n = normal(x);
  return dout * (n.cumulative + x * (n.exponential * kInverseRootTwoPi));
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
  const Floats e = simd::exp2(-simd::larger(simd::broadcast(-126.0f), -exponent));
  const Floats open = 1.0f / (1.0f + e);
  return {open, e * open};
}

inline Floats tanh_forward(Floats x) { return x * gate(x).open; }

inline Floats tanh_backward(Floats dout, Floats x) {
  const Floats limit = simd::broadcast(-16.0f);  // beyond it the slope is 0 or 1 and x^3 only overflows
  const Floats inner = -simd::larger(limit, -simd::larger(limit, x));
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
