// GELU (D. Hendrycks, K. Gimpel, 2016): x * Phi(x) by erf, or GPT-2's tanh approximation of it.
#pragma once

#include <cstddef>

#include "kernels/context.h"

namespace glint {

enum class Gelu { erf, tanh };

void gelu_forward(const CpuContext& ctx, float* out, const float* x, size_t n, Gelu kind);

// dx = dout * gelu'(x). dx may be dout (in place).
void gelu_backward(const CpuContext& ctx, float* dx, const float* dout, const float* x, size_t n, Gelu kind);

}  // namespace glint
