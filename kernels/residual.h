// out = x + dropout(y), one pass: the end of every transformer branch. Row layout of kernels/dropout.h. Scalar: float,
// Bf16.
#pragma once

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

struct ResidualShape {
  int B, T, C;
};

// out, x, y (B, T, C). out may be x or y.
template <typename Scalar>
void residual_dropout_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, const Scalar* y,
                              const ResidualShape& shape, const Dropout& dropout);
template <typename Scalar>
void residual_dropout_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* y,
                              const ResidualShape& shape, const Dropout& dropout);

// dy = dropout'(dout), with the same mask. (dx is dout itself.) dy may be dout.
template <typename Scalar>
void residual_dropout_backward(const CpuContext& ctx, Scalar* dy, const Scalar* dout, const ResidualShape& shape,
                               const Dropout& dropout);
template <typename Scalar>
void residual_dropout_backward(const CudaContext& ctx, Scalar* dy, const Scalar* dout, const ResidualShape& shape,
                               const Dropout& dropout);

}  // namespace glint
