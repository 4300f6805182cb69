// Muon's part of an optimizer step: the matrices of layers (Parameter::hidden), which come first in the flat buffers.
//
// Ranks divide the matrices among themselves: each makes those that are its own orthogonal and zeroes the others, and
// their sum, exchanged as gradients are, is the update of all. So ranks agree in every bit, whatever a product's order
// of sums is on each. With sharded moments the matrices are gathered before, because each rank has momentum of its
// pieces only.
#pragma once

#include "kernels/muon.h"
#include "kernels/step_state.h"
#include "src/gradient_exchange.h"
#include "src/parameters.h"
#include "src/partition.h"

namespace glint {

// Bytes of device memory that muon_step needs as scratch; 0 without Muon. Floating-point operations of one rank.
size_t muon_scratch(const Parameters& parameters, const Partition& partition);
double muon_flops(const Parameters& parameters, const Partition& partition);

// Makes the gradients of this rank's matrices orthogonal: part of muon_step, and its matrix products alone, to be
// tuned.
void orthogonalize_own(Parameters& parameters, const Partition& partition, void* scratch);

// Updates this rank's pieces of the matrices. Overwrites their gradients.
void muon_step(Parameters& parameters, const Partition& partition, GradientExchange* exchange, const Muon& settings,
               StepState* state, void* scratch);

}  // namespace glint
