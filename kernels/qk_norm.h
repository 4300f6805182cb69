// RMSNorm (B. Zhang, R. Sennrich, 2019) of each query and key head, without weights: QK norm (A. Henry et al., 2020),
// as nanochat has it. It does not change under rotation, so that it may come before rotary positions or after.
#pragma once

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

struct QkNormShape {
  int rows;    // B*T
  int heads;   // the first of a token that are normalised: queries and keys
  int stride;  // elements of a token
  int HS;      // CUDA: a multiple of 4
  float eps = 1e-5f;
};

// Normalises heads (rows, heads, HS) of packed ones in place; rstd (rows, heads) is kept for backward. Scalar: float,
// Bf16.
template <typename Scalar>
void qk_norm_forward(const CpuContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape);
template <typename Scalar>
void qk_norm_forward(const CudaContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape);

// dpacked: the gradient of the normalised heads becomes that of what they were; packed: forward's result.
template <typename Scalar>
void qk_norm_backward(const CpuContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape);
template <typename Scalar>
void qk_norm_backward(const CudaContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape);

}  // namespace glint
