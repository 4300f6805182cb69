// One row through a linear layer, the product of generation: bound by reading the weight, which every thread does a
// part of.
#pragma once

#include "kernels/matmul.h"

namespace glint {

// out (out) = x (in) W + bias; bias may be null. shape.rows is 1.
void matrix_times_vector(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                         const LinearShape& shape);

}  // namespace glint
