#include "kernels/adamw.h"

#include <cmath>

#include "kernels/cpu/parallel.h"

namespace glint {
namespace {

// What one step multiplies with, in the order of the update below.
struct Factors {
  float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float keep;             // 1 - learning rate * weight decay
  float step_size;        // learning rate / (1 - beta1^t)
  float root_correction;  // 1 / sqrt(1 - beta2^t)
  float eps;
};

Factors factors_of(const AdamW& settings, const AdamWStep& step, float weight_decay) {
  const double t = static_cast<double>(step.t), beta1 = settings.beta1, beta2 = settings.beta2, rate = step.learning_rate;
  Factors f;
  f.gradient_scale = step.gradient_scale;
  f.beta1 = settings.beta1;
  f.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  f.beta2 = settings.beta2;
  f.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  f.keep = static_cast<float>(1.0 - rate * weight_decay);
  f.step_size = static_cast<float>(rate / (1.0 - std::pow(beta1, t)));
  f.root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)));
  f.eps = settings.eps;
  return f;
}

// One pass over memory, which is what bounds it: 16 bytes read and 12 written per parameter.
void update(float* __restrict params, float* __restrict m, float* __restrict v, const float* __restrict gradients,
            Range range, const Factors& f) {
#pragma omp simd
  for (size_t i = range.begin; i < range.end; ++i) {
    const float gradient = gradients[i] * f.gradient_scale;
    const float mean = f.beta1 * m[i] + f.one_minus_beta1 * gradient;
    const float square = f.beta2 * v[i] + f.one_minus_beta2 * (gradient * gradient);
    m[i] = mean;
    v[i] = square;
    params[i] = params[i] * f.keep - f.step_size * mean / (std::sqrt(square) * f.root_correction + f.eps);
  }
}

}  // namespace

void adamw(const CpuContext& ctx, float* params, Bf16* rounded, float* m, float* v, const float* gradients, size_t n,
           size_t n_decayed, const AdamW& settings, const AdamWStep* step) {
  if (step->halted) return;
  const Factors decayed = factors_of(settings, *step, settings.weight_decay), plain = factors_of(settings, *step, 0.0f);
  parallel_ranges(ctx, n, 16, n, [&](Range range) {
    const size_t middle = std::clamp(n_decayed, range.begin, range.end);
    update(params, m, v, gradients, {range.begin, middle}, decayed);
    update(params, m, v, gradients, {middle, range.end}, plain);
    if (!rounded) return;
    for (size_t i = range.begin; i < range.end; ++i) rounded[i] = to_bf16(params[i]);
  });
}

}  // namespace glint
