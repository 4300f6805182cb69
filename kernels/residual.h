// out = x + dropout(y), one pass: the end of every transformer branch. Row layout of kernels/dropout.h.
#pragma once

#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

struct ResidualShape {
  int B, T, C;
};

// out, x, y (B, T, C). out may be x or y.
void residual_dropout_forward(const CpuContext& ctx, float* out, const float* x, const float* y, const ResidualShape& shape,
                              const Dropout& dropout);

// dy = dropout'(dout): the same mask, drawn again. (dx is dout itself.) dy may be dout.
void residual_dropout_backward(const CpuContext& ctx, float* dy, const float* dout, const ResidualShape& shape,
                               const Dropout& dropout);

}  // namespace glint
