// Reductions in a fixed order: blocks of kReduceBlock elements, whatever the thread count.
#pragma once

#include <cstddef>

#include "kernels/context.h"

namespace glint {

inline constexpr size_t kReduceBlock = 16384;

// Sum of x and of x*x, accumulated in double.
double sum(const CpuContext& ctx, const float* x, size_t n);
double sum_of_squares(const CpuContext& ctx, const float* x, size_t n);

// Index of the first NaN or infinity, or n.
size_t first_not_finite(const CpuContext& ctx, const float* x, size_t n);

}  // namespace glint
