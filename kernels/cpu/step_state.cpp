#include "kernels/step_state.h"

#include <algorithm>

namespace glint {

void begin_micro_batch(const CpuContext&, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch) {
  const StepInput input = input_of(*state, batch);
  begin(*state, batch, input);
  std::copy_n(input.tokens + batch.first, batch.n, tokens);
  std::copy_n(input.targets + batch.first, batch.n, targets);
}

void clip_gradients(const CpuContext&, StepState* state, float limit) { clip(*state, limit); }

void advance(const CpuContext&, StepState* state, uint64_t offsets) { advance(*state, offsets); }

}  // namespace glint
