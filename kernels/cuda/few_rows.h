// A linear layer of few rows, as in generation: limited by reading the weight, which cuBLASLt's kernels, made for many
// rows, do with too few blocks.
#pragma once

#include "kernels/matmul.h"

namespace glint {

// Computes linear_forward() and returns true, or returns false where it is no case for these kernels: more rows, or
// rows of the weight that are no multiple of 16 bytes. Sums are in fp32, in an order that does not depend on the number
// of rows.
template <typename Scalar>
bool few_rows_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                      const LinearShape& shape);

}  // namespace glint
