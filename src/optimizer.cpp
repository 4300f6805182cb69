#include "src/optimizer.h"

#include <cmath>

#include "kernels/reduce.h"
#include "kernels/step_state.h"

namespace glint {

double gradient_norm(const CpuContext& ctx, const Parameters& parameters) {
  return std::sqrt(sum_of_squares(ctx, parameters.gradients(), parameters.elements()));
}

float clip_factor(double norm, double limit) {
  return clip_scale(norm, limit);
}

void optimizer_step(const CpuContext& ctx, Parameters& parameters, const AdamW& settings, const AdamWStep& step) {
  adamw(ctx, parameters.values(), parameters.first_moments(), parameters.second_moments(), parameters.gradients(),
        parameters.elements(), parameters.decayed_elements(), settings, &step);
}

}  // namespace glint
