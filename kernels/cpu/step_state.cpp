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

void prepare_update(const CpuContext&, StepState* state, float limit, const AdamW& settings) {
  prepare_update(*state, limit, settings);
}

void advance(const CpuContext&, StepState* state, uint64_t offsets) { advance(*state, offsets); }

}  // namespace glint
