// The state of the random numbers from a caller's seed and offset, which may lie in device memory.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

// As PyTorch's PhiloxCudaState: a pointer that is not null replaces the seed, or is of an offset to add.
struct RngSource {
  uint64_t seed = 0, offset = 0;
  const uint64_t *seed_pointer = nullptr, *offset_pointer = nullptr;

  GLINT_HOST_DEVICE RngState read() const {
    return {seed_pointer ? *seed_pointer : seed, offset + (offset_pointer ? *offset_pointer : 0), 0, 0};
  }
};

// *state = source.read(), on the device.
inline void read_rng_source(const CpuContext&, RngState* state, const RngSource& source) { *state = source.read(); }
void read_rng_source(const CudaContext& ctx, RngState* state, const RngSource& source);

}  // namespace glint
