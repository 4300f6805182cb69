// GELU (D. Hendrycks, K. Gimpel, 2016): x * Phi(x) by erf, or GPT-2's tanh approximation of it. Scalar: float, Bf16.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

enum class Gelu { erf, tanh };

// out (n) = gelu(x).
template <typename Scalar>
void gelu_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, size_t n, Gelu kind);
template <typename Scalar>
void gelu_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, size_t n, Gelu kind);

// dx (n) = dout * gelu'(x). dx may be dout (in place).
template <typename Scalar>
void gelu_backward(const CpuContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* x, size_t n, Gelu kind);
template <typename Scalar>
void gelu_backward(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* x, size_t n, Gelu kind);

}  // namespace glint
