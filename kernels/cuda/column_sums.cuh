// The last step of every gradient that sums over rows: partial sums, a row of them from each block, are added up.
#pragma once

#include <cstddef>

#include "kernels/context.h"
#include "kernels/matmul.h"

namespace glint {

// sums (columns) = or += sum of the rows of partial (rows, columns of `stride`), in a fixed order.
void add_partial_rows(const CudaContext& ctx, float* sums, const float* partial, int rows, int columns, size_t stride,
                      Write write);

}  // namespace glint
