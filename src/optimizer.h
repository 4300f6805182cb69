// AdamW over the flat parameter buffers, with the gradient norm and clipping before it, all on the device.
#pragma once

#include "kernels/adamw.h"
#include "kernels/step_state.h"
#include "src/parameters.h"

namespace glint {

// Bytes of device memory that optimizer_step wants besides.
size_t optimizer_scratch(const Parameters& parameters);

// The gradient's norm into *state, clipping to grad_clip (0: none), and one update. Changes nothing where the norm is no
// finite number, but halts the state.
void optimizer_step(Parameters& parameters, const AdamW& settings, double grad_clip, StepState* state, void* scratch);

}  // namespace glint
