// The last step of every gradient that sums over rows: adds the blocks' rows of partial sums.
#pragma once

#include <initializer_list>

#include "kernels/context.h"
#include "kernels/matmul.h"

namespace glint {

// sums[i] (columns), those that are not null, = or += sum over the rows of partial (rows, sums.size(), columns), in a
// fixed order. At most two.
void add_partial_rows(const CudaContext& ctx, std::initializer_list<float*> sums, const float* partial, int rows,
                      int columns, Write write);

}  // namespace glint
