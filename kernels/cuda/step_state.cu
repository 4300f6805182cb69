#include "kernels/step_state.h"

#include "kernels/cuda/device.cuh"

namespace glint {
namespace {

constexpr int kThreads = 256;

__global__ void begin_micro_batch_kernel(StepState* state, int32_t* tokens, int32_t* targets, const MicroBatch batch) {
  const StepInput input = input_of(*state, batch);
  if (blockIdx.x == 0 && threadIdx.x == 0) begin(*state, batch, input);  // no other thread reads what it writes
  const size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= batch.n) return;
  tokens[i] = input.tokens[batch.first + i];
  targets[i] = input.targets[batch.first + i];
}

__global__ void prepare_update_kernel(StepState* state, float limit, const AdamW settings) {
  prepare_update(*state, limit, settings);
}

__global__ void advance_kernel(StepState* state, uint64_t offsets) { advance(*state, offsets); }

}  // namespace

void begin_micro_batch(const CudaContext& ctx, StepState* state, int32_t* tokens, int32_t* targets,
                       const MicroBatch& batch) {
  const auto what = [&] { return str_cat("begin_micro_batch, ", batch.n, " tokens"); };
  const dim3 grid(static_cast<unsigned>((batch.n + kThreads - 1) / kThreads));
  launch(ctx, {grid, dim3(kThreads)}, what, begin_micro_batch_kernel, state, tokens, targets, batch);
}

void prepare_update(const CudaContext& ctx, StepState* state, float limit, const AdamW& settings) {
  launch(
      ctx, {dim3(1), dim3(1)}, [] { return "prepare_update"; }, prepare_update_kernel, state, limit, settings);
}

void advance(const CudaContext& ctx, StepState* state, uint64_t offsets) {
  launch(
      ctx, {dim3(1), dim3(1)}, [] { return "advance"; }, advance_kernel, state, offsets);
}

}  // namespace glint
