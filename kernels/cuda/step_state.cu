#include "kernels/step_state.h"

#include "kernels/cuda/device.cuh"

namespace glint {
namespace {

__global__ void clip_gradients_kernel(AdamWStep* step, const double* sum_of_squares, float limit) {
  step->gradient_scale = clip_scale(sqrt(*sum_of_squares), limit);
}

__global__ void advance_kernel(RngState* rng, AdamWStep* step, uint64_t offsets) { advance(*rng, *step, offsets); }

}  // namespace

void clip_gradients(const CudaContext& ctx, AdamWStep* step, const double* sum_of_squares, float limit) {
  launch(ctx, {dim3(1), dim3(1)}, [] { return "clip_gradients"; }, clip_gradients_kernel, step, sum_of_squares, limit);
}

void advance(const CudaContext& ctx, RngState* rng, AdamWStep* step, uint64_t offsets) {
  launch(ctx, {dim3(1), dim3(1)}, [] { return "advance"; }, advance_kernel, rng, step, offsets);
}

}  // namespace glint
