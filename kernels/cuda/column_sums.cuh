// The last step of every gradient that sums over rows: adds the blocks' rows of partial sums.
#pragma once

#include <cstddef>

#include "kernels/context.h"
#include "kernels/matmul.h"

namespace glint {

// sums (columns) = or += sum of the rows of partial (rows, columns of `stride`), in a fixed order.
void add_partial_rows(const CudaContext& ctx, float* sums, const float* partial, int rows, int columns, size_t stride,
                      Write write);

}  // namespace glint
