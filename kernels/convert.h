// From one precision to another, element by element; to bf16 by rounding to nearest, ties to even.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

void convert(const CpuContext& ctx, Bf16* to, const float* from, size_t n);
void convert(const CpuContext& ctx, float* to, const Bf16* from, size_t n);
void convert(const CudaContext& ctx, Bf16* to, const float* from, size_t n);
void convert(const CudaContext& ctx, float* to, const Bf16* from, size_t n);

}  // namespace glint
