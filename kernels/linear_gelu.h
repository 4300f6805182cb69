// Linear layers before and after a GELU, fused with it where the device can (cuBLASLt, the tanh form) and that was not
// measured to be slower; otherwise separate kernels. Scalar: float or Bf16.
#pragma once

#include "kernels/gelu.h"
#include "kernels/matmul.h"

namespace glint {

// pre (rows, out) = x (rows, in) W + bias, out = gelu(pre). bias may be null.
template <typename Scalar>
void linear_gelu_forward(const CpuContext& ctx, Scalar* out, Scalar* pre, const Scalar* x, const Scalar* weight,
                         const Scalar* bias, const LinearShape& shape, Gelu kind);
template <typename Scalar>
void linear_gelu_forward(const CudaContext& ctx, Scalar* out, Scalar* pre, const Scalar* x, const Scalar* weight,
                         const Scalar* bias, const LinearShape& shape, Gelu kind);

// For the layer whose input is gelu(pre) (rows, in): dpre = (dout W^T) * gelu'(pre).
template <typename Scalar>
void linear_gelu_backward_input(const CpuContext& ctx, Scalar* dpre, const Scalar* dout, const Scalar* weight,
                                const Scalar* pre, const LinearShape& shape, Gelu kind);
template <typename Scalar>
void linear_gelu_backward_input(const CudaContext& ctx, Scalar* dpre, const Scalar* dout, const Scalar* weight,
                                const Scalar* pre, const LinearShape& shape, Gelu kind);

}  // namespace glint
