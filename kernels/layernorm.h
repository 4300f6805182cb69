// Layer normalisation over the last dimension (J. Ba et al., 2016), eps inside the root, bias optional; and RMSNorm (B.
// Zhang, R. Sennrich, 2019), which takes 0 for the mean: where `mean` is null.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/matmul.h"

namespace glint {

struct LayerNormShape {
  int rows;  // B*T
  int C;
  float eps = 1e-5f;
};

// out (rows, C) = (x - mean) * rstd * weight + bias, of x (rows, C); mean, rstd (rows) are kept for backward. weight,
// bias (C). mean, bias may be null. Scalar: float, Bf16; all else is fp32. CUDA: C up to 6144.
template <typename Scalar>
void layernorm_forward(const CpuContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x,
                       const float* weight, const float* bias, const LayerNormShape& shape);
template <typename Scalar>
void layernorm_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x,
                       const float* weight, const float* bias, const LayerNormShape& shape);

// Scratch of backward, in floats (partial sums of the parameter gradients, added in a fixed order).
size_t layernorm_backward_scratch(const CpuContext& ctx, const LayerNormShape& shape);
size_t layernorm_backward_scratch(const CudaContext& ctx, const LayerNormShape& shape);

// dx (rows, C): set or added to, as write_dx says; dweight, dbias (C; dbias may be null): as write_parameters says.
template <typename Scalar>
void layernorm_backward(const CpuContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout,
                        const Scalar* x, const float* mean, const float* rstd, const float* weight, float* scratch,
                        const LayerNormShape& shape, Write write_dx, Write write_parameters);
template <typename Scalar>
void layernorm_backward(const CudaContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout,
                        const Scalar* x, const float* mean, const float* rstd, const float* weight, float* scratch,
                        const LayerNormShape& shape, Write write_dx, Write write_parameters);

}  // namespace glint
