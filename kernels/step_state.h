// What moves from one optimizer step to the next, changed where it lies: a recorded step needs no word from the host.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/adamw.h"
#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

// The factor that brings a gradient of this norm down to `limit` (0: no limit), as PyTorch's clip_grad_norm_.
GLINT_HOST_DEVICE inline float clip_scale(double norm, double limit) {
  if (limit <= 0.0 || norm <= limit) return 1.0f;
  return static_cast<float>(limit / (norm + 1e-6));
}

// step->gradient_scale = clip_scale(sqrt(*sum_of_squares), limit). A norm that is NaN makes it NaN.
inline void clip_gradients(const CpuContext&, AdamWStep* step, const double* sum_of_squares, float limit) {
  step->gradient_scale = clip_scale(std::sqrt(*sum_of_squares), static_cast<double>(limit));
}
void clip_gradients(const CudaContext& ctx, AdamWStep* step, const double* sum_of_squares, float limit);

// After an optimizer step: the next one draws from `offsets` further on.
GLINT_HOST_DEVICE inline void advance(RngState& rng, AdamWStep& step, uint64_t offsets) {
  rng.offset += offsets;
  rng.step += 1;
  step.t += 1;
}
inline void advance(const CpuContext&, RngState* rng, AdamWStep* step, uint64_t offsets) { advance(*rng, *step, offsets); }
void advance(const CudaContext& ctx, RngState* rng, AdamWStep* step, uint64_t offsets);

}  // namespace glint
