// GELU and its derivative by the formula.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/gelu.h"
#include "tests/kernels/guarded.h"

namespace glint::test {

template <typename Real>
Real gelu(Real x, Gelu kind) {
  if (kind == Gelu::erf) return x * std::erfc(-x * Real(M_SQRT1_2)) / 2;
  return x * (1 + std::tanh(Real(std::sqrt(M_2_PI)) * (x + Real(0.044715) * x * x * x))) / 2;
}

template <typename Real>
Real gelu_slope(Real x, Gelu kind) {
  if (kind == Gelu::erf)
    return std::erfc(-x * Real(M_SQRT1_2)) / 2 + x * std::exp(-x * x / 2) * Real(M_2_SQRTPI * M_SQRT1_2 / 2);
  const Real root = Real(std::sqrt(M_2_PI)), t = std::tanh(root * (x + Real(0.044715) * x * x * x));
  return (1 + t) / 2 + x * (1 - t * t) / 2 * root * (1 + 3 * Real(0.044715) * x * x);
}

// The tanh form where tanh has a small relative error e: t = (1 + e) * tanh(u), and everything else exact. To first
// order in e, gelu = x / 2 * (1 + t) is off by x / 2 * tanh * e, and its slope, (1 + t) / 2 + x / 2 * (1 - t^2) * u',
// by tanh / 2 * (1 - 2 * x * tanh * u') * e.
//
// cuBLASLt's epilogues take tanh from the instruction tanh.approx.f32 (MUFU.TANH in the SASS of those of CUDA 13.0 for
// bf16), whose e is at most 1.113e-5 over all inputs (N. Juffa, "Hardware-accelerated tanh() on Turing", NVIDIA's
// developer forum, 2021). NVIDIA's PTX manual promises only 2^-11. On an H100 fp32 results were off by up to 6.3e-6.
inline constexpr double kTanhApprox = 1.113e-5;
inline double gelu_error(double x, double relative = kTanhApprox) {
  return std::abs(2 * gelu(x, Gelu::tanh) - x) / 2 * relative;  // x * tanh = 2 * gelu - x
}
inline double gelu_slope_error(double x, double relative = kTanhApprox) {
  const double root = std::sqrt(M_2_PI), t = std::tanh(root * (x + 0.044715 * x * x * x));
  const double slope = root * (1 + 3 * 0.044715 * x * x);
  return std::abs(t / 2 * (1 - 2 * x * t * slope)) * relative;
}

template <typename Real>
struct PlainGelu {
  std::vector<Real> out, dx;
  PlainGelu(const std::vector<Real>& x, const std::vector<Real>& dout, Gelu kind) {
    for (size_t i = 0; i < x.size(); ++i) {
      out.push_back(gelu(x[i], kind));
      dx.push_back(dout[i] * gelu_slope(x[i], kind));
    }
  }
};

}  // namespace glint::test
