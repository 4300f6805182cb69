// One row through a linear layer, for generation: limited by reading the weight, which is split among the threads.
#pragma once

#include "kernels/matmul.h"

namespace glint {

// out (out) = x (in) W + bias; bias may be null. shape.rows is 1.
void matrix_times_vector(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                         const LinearShape& shape);

}  // namespace glint
