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
