// AdamW over the flat parameter buffers, with the gradient norm and clipping before it.
#pragma once

#include "kernels/adamw.h"
#include "kernels/context.h"
#include "src/parameters.h"

namespace glint {

// sqrt of the sum of squares of every gradient.
double gradient_norm(const CpuContext& ctx, const Parameters& parameters);

// The factor that brings a gradient of this norm down to `limit` (0: no limit), as PyTorch's clip_grad_norm_.
float clip_factor(double norm, double limit);

// One update; t counts from 1.
void optimizer_step(const CpuContext& ctx, Parameters& parameters, const AdamW& settings, const AdamWStep& step);

}  // namespace glint
