// QK norm (A. Henry et al., 2020): RMSNorm (B. Zhang, R. Sennrich, 2019) of each query and key head, without weights,
// as nanochat has it. A rotation keeps the norm of a head, so rotary positions may come before it or after.
#pragma once

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

struct QkNormShape {
  int rows;    // B*T
  int heads;   // NH + NKV: the first heads of a token, queries and keys, are normalised
  int stride;  // elements of a token
  int HS;      // CUDA: a multiple of 4, up to 256
  float eps = 1e-5f;
};

// x / sqrt(mean(x^2) + eps) in place, of the first `heads` heads of each row of packed (rows, stride); rstd (rows,
// heads) is kept for backward. Scalar: float, Bf16.
template <typename Scalar>
void qk_norm_forward(const CpuContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape);
template <typename Scalar>
void qk_norm_forward(const CudaContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape);

// dpacked (rows, stride): the gradient of the normalised heads becomes that of the heads. packed: forward's result.
template <typename Scalar>
void qk_norm_backward(const CpuContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape);
template <typename Scalar>
void qk_norm_backward(const CudaContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape);

}  // namespace glint
