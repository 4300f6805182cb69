#include "src/optimizer.h"

#include <cmath>

#include "kernels/reduce.h"

namespace glint {

double gradient_norm(const CpuContext& ctx, const Parameters& parameters) {
  return std::sqrt(sum_of_squares(ctx, parameters.gradients(), parameters.elements()));
}

float clip_factor(double norm, double limit) {
  if (limit <= 0.0 || norm <= limit) return 1.0f;
  return static_cast<float>(limit / (norm + 1e-6));
}

void optimizer_step(const CpuContext& ctx, Parameters& parameters, const AdamW& settings, const AdamWStep& step) {
  adamw(ctx, parameters.values(), parameters.first_moments(), parameters.second_moments(), parameters.gradients(),
        parameters.elements(), parameters.decayed_elements(), settings, &step);
}

}  // namespace glint
