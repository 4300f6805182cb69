// The training state in device memory, and the input of a step. A recorded step can be replayed with new tokens, masks
// and learning rate without waiting for the host.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/adamw_update.h"
#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

struct StepState {
  RngState rng;
  AdamWStep adamw;
  double gradient_squares = 0;  // sum of squares of all gradients of the step
};

// The input of one step, in one block of memory, so that one copy uploads it.
struct StepInput {
  float* learning_rate;
  int32_t *tokens, *targets;  // (n) each: B*T of the whole batch
};
struct StepInputLayout {
  static constexpr size_t kAlignment = 16;  // bytes, of the block and of tokens

  size_t n;
  GLINT_HOST_DEVICE size_t bytes() const {  // a multiple of kAlignment
    return kAlignment + (2 * n * sizeof(int32_t) + kAlignment - 1) / kAlignment * kAlignment;
  }
  GLINT_HOST_DEVICE StepInput at(std::byte* memory) const {
    auto* tokens = reinterpret_cast<int32_t*>(memory + kAlignment);
    return {reinterpret_cast<float*>(memory), tokens, tokens + n};
  }
};

// Copies tokens and targets `first` .. first+n-1 of the step's input, and its learning rate; sets the number of the
// micro-batch's first sequence, and of the step. The input is in the slot of the step's parity, of two adjacent
// slots.
struct MicroBatch {
  std::byte* slots;
  StepInputLayout layout;
  size_t first, n;
  uint64_t first_sequence;
};
void begin_micro_batch(const CpuContext& ctx, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch);

// Shared by the backends.
GLINT_HOST_DEVICE inline StepInput input_of(const StepState& state, const MicroBatch& batch) {
  return batch.layout.at(batch.slots + state.rng.step % 2 * batch.layout.bytes());
}
GLINT_HOST_DEVICE inline void begin(StepState& state, const MicroBatch& batch, const StepInput& input) {
  state.rng.first_sequence = batch.first_sequence;
  state.adamw.learning_rate = *input.learning_rate;
  state.adamw.t = state.rng.step + 1;
  state.adamw.seed = state.rng.seed;
}
GLINT_HOST_DEVICE inline void prepare_update(StepState& state, double limit, const AdamW& settings) {
  const double norm = sqrt(state.gradient_squares);
  if (!(norm <= 1.7976931348623157e308)) state.adamw.halted = 1;  // infinity or NaN
  state.adamw.gradient_scale = limit <= 0.0 || norm <= limit ? 1.0f : static_cast<float>(limit / (norm + 1e-6));
  state.adamw.factors = adamw_factors(settings, state.adamw);
}
GLINT_HOST_DEVICE inline void advance(StepState& state, uint64_t offsets) {
  if (state.adamw.halted) return;
  state.rng.offset += offsets;
  state.rng.step += 1;
}

// The factor that scales a gradient of this norm down to `limit` (0: no limit), as PyTorch's clip_grad_norm_, and the
// other factors of AdamW. If the norm is not finite the state is halted: AdamW, Muon and advance() do nothing until the
// host writes a new state.
void prepare_update(const CpuContext& ctx, StepState* state, float limit, const AdamW& settings);

// Ends a step that used `offsets` dropout offsets.
void advance(const CpuContext& ctx, StepState* state, uint64_t offsets);

void begin_micro_batch(const CudaContext& ctx, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch);
void prepare_update(const CudaContext& ctx, StepState* state, float limit, const AdamW& settings);
void advance(const CudaContext& ctx, StepState* state, uint64_t offsets);

}  // namespace glint
