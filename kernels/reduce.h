// Reductions in a fixed order: blocks of kReduceBlock elements, whatever the thread count.
#pragma once

#include <cstddef>

#include "kernels/context.h"

namespace glint {

inline constexpr size_t kReduceBlock = 16384;

// Sum of x and of x*x, accumulated in double.
double sum(const CpuContext& ctx, const float* x, size_t n);
double sum_of_squares(const CpuContext& ctx, const float* x, size_t n);

// The same with the result in the device's memory, where kernels read it.
size_t reduce_scratch(const CpuContext& ctx, size_t n);  // bytes
void sum(const CpuContext& ctx, double* result, const float* x, size_t n, void* scratch);
void sum_of_squares(const CpuContext& ctx, double* result, const float* x, size_t n, void* scratch);

// Index of the first NaN or infinity, or n.
size_t first_not_finite(const CpuContext& ctx, const float* x, size_t n);

}  // namespace glint
