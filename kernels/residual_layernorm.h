// The end of a transformer branch and the layer norm that follows it, in one pass over the rows: x + dropout(y),
// normalised. Row layout of kernels/dropout.h. Scalar: float, Bf16; statistics, weights and their gradients are fp32.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/dropout.h"
#include "kernels/layernorm.h"

namespace glint {

struct ResidualLayerNormShape {
  int B, T, C;  // CUDA: C up to 6144
  float eps = 1e-5f;
};

// sum (B, T, C) = x + dropout(y), rounded to Scalar; out (B, T, C) = layer norm of sum; mean, rstd (B*T) are kept for
// backward. sum may be x or y. bias may be null; mean too: RMSNorm.
template <typename Scalar>
void residual_layernorm_forward(const CpuContext& ctx, Scalar* out, Scalar* sum, float* mean, float* rstd,
                                const Scalar* x, const Scalar* y, const float* weight, const float* bias,
                                const ResidualLayerNormShape& shape, const Dropout& dropout);
template <typename Scalar>
void residual_layernorm_forward(const CudaContext& ctx, Scalar* out, Scalar* sum, float* mean, float* rstd,
                                const Scalar* x, const Scalar* y, const float* weight, const float* bias,
                                const ResidualLayerNormShape& shape, const Dropout& dropout);

// Scratch of backward, in floats.
size_t residual_layernorm_backward_scratch(const CpuContext& ctx, const ResidualLayerNormShape& shape);
size_t residual_layernorm_backward_scratch(const CudaContext& ctx, const ResidualLayerNormShape& shape);

// dsum (B, T, C) holds the gradient of the sum from its other users; the layer norm's dx is added, rounded to Scalar.
// The result is also dx. dy = dropout'(dsum), with the same mask; dy may not be dsum. dweight, dbias (C; dbias
// may be null): set or added to, as write_parameters says.
template <typename Scalar>
void residual_layernorm_backward(const CpuContext& ctx, Scalar* dsum, Scalar* dy, float* dweight, float* dbias,
                                 const Scalar* dout, const Scalar* sum, const float* mean, const float* rstd,
                                 const float* weight, float* scratch, const ResidualLayerNormShape& shape,
                                 const Dropout& dropout, Write write_parameters);
template <typename Scalar>
void residual_layernorm_backward(const CudaContext& ctx, Scalar* dsum, Scalar* dy, float* dweight, float* dbias,
                                 const Scalar* dout, const Scalar* sum, const float* mean, const float* rstd,
                                 const float* weight, float* scratch, const ResidualLayerNormShape& shape,
                                 const Dropout& dropout, Write write_parameters);

}  // namespace glint
