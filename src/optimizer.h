// AdamW over the flat parameter buffers, with the gradient norm and clipping before it, all on the device.
#pragma once

#include "kernels/adamw.h"
#include "kernels/step_state.h"
#include "src/gradient_exchange.h"
#include "src/parameters.h"
#include "src/partition.h"

namespace glint {

// Bytes of device memory that optimizer_step wants besides.
size_t optimizer_scratch(const Parameters& parameters, const Partition& partition);

// The gradient's norm into *state, clipping to grad_clip (0: none), and one update. Changes nothing where the norm is
// no finite number, but halts the state. Of this rank's pieces; where they are not all, the ranks add their norms up
// and hand each other the new parameters by `exchange`.
void optimizer_step(Parameters& parameters, const Partition& partition, GradientExchange* exchange,
                    const AdamW& settings, double grad_clip, StepState* state, void* scratch);

}  // namespace glint
