#include "kernels/step_state.h"

#include <cstring>

namespace glint {

void begin_micro_batch(const CpuContext&, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch) {
  const int32_t* slot = slot_of(*state, batch);
  begin(*state, batch, slot);
  std::memcpy(tokens, slot + StagedBatch::kTokensAt + batch.first, batch.n * sizeof(int32_t));
  std::memcpy(targets, slot + batch.layout.targets_at() + batch.first, batch.n * sizeof(int32_t));
}

void clip_gradients(const CpuContext&, StepState* state, float limit) { clip(*state, limit); }

void advance(const CpuContext&, StepState* state, uint64_t offsets) { advance(*state, offsets); }

}  // namespace glint
