// Few rows through a linear layer, for generation: limited by reading the weight, which is split among the threads and
// read once for all rows. A row gives the same bits alone and among others.
#pragma once

#include "kernels/matmul.h"

namespace glint {

// linear_forward() of up to kFewRows rows. Scalar: float, Bf16 (sums in fp32).
template <typename Scalar>
void few_rows_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                      const LinearShape& shape);

}  // namespace glint
