// Between float and bfloat16.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

// out (n) = x (n), rounded to nearest, ties to even; NaN stays NaN.
void convert(const CpuContext& ctx, Bf16* out, const float* x, size_t n);
void convert(const CudaContext& ctx, Bf16* out, const float* x, size_t n);

// Exact.
void convert(const CpuContext& ctx, float* out, const Bf16* x, size_t n);
void convert(const CudaContext& ctx, float* out, const Bf16* x, size_t n);

}  // namespace glint
