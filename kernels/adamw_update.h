// One AdamW update (Algorithm 2 of the paper): one definition for host and device.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/adamw.h"
#include "kernels/philox.h"

namespace glint {

// x^n by squaring: the same bits on every machine, and an error of n * 1e-16, relative.
GLINT_HOST_DEVICE constexpr double power(double x, uint64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1, x *= x) {
    if (n & 1) result *= x;
  }
  return result;
}

GLINT_HOST_DEVICE inline AdamWFactors adamw_factors(const AdamW& settings, const AdamWStep& step) {
  const double beta1 = settings.beta1, beta2 = settings.beta2, rate = step.learning_rate;
  AdamWFactors f;
  f.gradient_scale = step.gradient_scale;
  f.beta1 = settings.beta1;
  f.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  f.beta2 = settings.beta2;
  f.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  f.keep = static_cast<float>(1.0 - rate * settings.weight_decay);
  f.step_size = static_cast<float>(rate / (1.0 - power(beta1, step.t)));
  f.root_correction = static_cast<float>(1.0 / sqrt(1.0 - power(beta2, step.t)));
  f.eps = settings.eps;
  return f;
}

// param, m and v of one element, in place.
GLINT_HOST_DEVICE inline void adamw_update(float& param, float& m, float& v, float gradient, float keep,
                                           const AdamWFactors& f) {
  const float scaled = gradient * f.gradient_scale;
  m = f.beta1 * m + f.one_minus_beta1 * scaled;
  v = f.beta2 * v + f.one_minus_beta2 * (scaled * scaled);
  param = param * keep - f.step_size * m / (sqrtf(v) * f.root_correction + f.eps);
}

}  // namespace glint
