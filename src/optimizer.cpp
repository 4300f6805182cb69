#include "src/optimizer.h"

#include "kernels/reduce.h"

namespace glint {

size_t optimizer_scratch(const Parameters& p) {
  return std::visit([&](const auto& ctx) { return reduce_scratch(ctx, p.elements()); }, p.device().context());
}

void optimizer_step(Parameters& p, const AdamW& settings, double grad_clip, StepState* state, void* scratch) {
  std::visit(
      [&](const auto& ctx) {
        sum_of_squares(ctx, &state->gradient_squares, p.gradients(), p.elements(), scratch);
        clip_gradients(ctx, state, static_cast<float>(grad_clip));
        adamw(ctx, p.values(), p.first_moments(), p.second_moments(), p.gradients(), p.elements(), p.decayed_elements(), settings,
              &state->adamw, p.rounded());
      },
      p.device().context());
}

}  // namespace glint
