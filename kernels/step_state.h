// What one optimizer step hands to the next, in the device's memory: so that a recorded step can be replayed, each time
// with new tokens, masks and learning rate, and the host has to look only when it wants to know.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/adamw.h"
#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

struct StepState {
  RngState rng;
  AdamWStep adamw;
  double gradient_squares = 0;  // sum of squares of all gradients of the step
};

// The input of one step, as the host lays it out in one piece.
struct StagedBatch {
  static constexpr size_t kTokensAt = 4;  // in words of four bytes; the learning rate, a float, stands at 0

  size_t tokens;  // of the whole batch, B*T
  GLINT_HOST_DEVICE size_t words() const { return kTokensAt + 2 * tokens; }
  GLINT_HOST_DEVICE size_t targets_at() const { return kTokensAt + tokens; }
};

// Takes n tokens and targets from place `first` on out of the staged batch (one of two slots side by side: that of the
// step's parity), and its learning rate; sets the number of the micro-batch's first sequence, and of the step.
struct MicroBatch {
  const int32_t* slots;
  StagedBatch layout;
  size_t first, n;
  uint64_t first_sequence;
};
void begin_micro_batch(const CpuContext& ctx, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch);

// Backends share these.
GLINT_HOST_DEVICE inline void begin(StepState& state, const MicroBatch& batch, const int32_t* slot) {
  state.rng.first_sequence = batch.first_sequence;
  state.adamw.learning_rate = __builtin_bit_cast(float, slot[0]);
  state.adamw.t = state.rng.step + 1;
}
GLINT_HOST_DEVICE inline const int32_t* slot_of(const StepState& state, const MicroBatch& batch) {
  return batch.slots + state.rng.step % 2 * batch.layout.words();
}
GLINT_HOST_DEVICE inline void clip(StepState& state, double limit) {
  const double norm = sqrt(state.gradient_squares);
  if (!(norm <= 1.7976931348623157e308)) state.adamw.halted = 1;  // infinity or NaN
  state.adamw.gradient_scale = limit <= 0.0 || norm <= limit ? 1.0f : static_cast<float>(limit / (norm + 1e-6));
}
GLINT_HOST_DEVICE inline void advance(StepState& state, uint64_t offsets) {
  if (state.adamw.halted) return;
  state.rng.offset += offsets;
  state.rng.step += 1;
}

// The factor that brings a gradient of this norm down to `limit` (0: no limit), as PyTorch's clip_grad_norm_. Where the
// norm is no finite number the step is halted: AdamW and advance() leave everything as it is, until the host has
// looked.
void clip_gradients(const CpuContext& ctx, StepState* state, float limit);

// The step is over: `offsets` dropout offsets are used up.
void advance(const CpuContext& ctx, StepState* state, uint64_t offsets);

void begin_micro_batch(const CudaContext& ctx, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch);
void clip_gradients(const CudaContext& ctx, StepState* state, float limit);
void advance(const CudaContext& ctx, StepState* state, uint64_t offsets);

}  // namespace glint
