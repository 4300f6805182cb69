// AdamW over the flat parameter buffers, or Muon and AdamW, with the gradient norm and clipping before it, all on the
// device.
#pragma once

#include "kernels/adamw.h"
#include "kernels/step_state.h"
#include "src/gradient_exchange.h"
#include "src/muon.h"
#include "src/parameters.h"
#include "src/partition.h"

namespace glint {

// Bytes that a rank holds of the weights (fp32; in bf16 also the rounded ones), gradients and moments. The parameters
// need only be laid out. This is what training will allocate; Parameters::bytes() is what has been allocated.
size_t training_bytes(const Parameters& parameters, const Partition& partition);

// Bytes that one optimizer_step() reads and writes.
size_t optimizer_traffic(const Parameters& parameters, const Partition& partition);

// Bytes of device memory that optimizer_step needs as scratch.
size_t optimizer_scratch(const Parameters& parameters, const Partition& partition);

// Writes the gradient's norm to *state, clips to grad_clip (0: none), and updates this rank's pieces. If the norm is
// not finite, halts the state and changes nothing else. Sharded ranks sum their norms and gather the new parameters
// through `exchange`.
void optimizer_step(Parameters& parameters, const Partition& partition, GradientExchange* exchange,
                    const AdamW& settings, const Muon& muon, double grad_clip, StepState* state, void* scratch);

}  // namespace glint
