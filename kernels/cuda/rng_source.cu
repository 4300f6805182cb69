#include "kernels/rng_source.h"

#include "kernels/cuda/device.cuh"

namespace glint {
namespace {

__global__ void read_rng_source_kernel(RngState* state, const RngSource source) { *state = source.read(); }

}  // namespace

void read_rng_source(const CudaContext& ctx, RngState* state, const RngSource& source) {
  launch(
      ctx, {dim3(1), dim3(1)}, [] { return "read_rng_source"; }, read_rng_source_kernel, state, source);
}

}  // namespace glint
