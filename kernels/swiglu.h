// SwiGLU (N. Shazeer, GLU Variants Improve Transformer, 2020): silu(gate) * up, silu(x) = x / (1 + exp(-x)).
#pragma once

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

// out (rows, H) = silu(gate) * up, of packed (rows, 2 H): [gate | up]. Scalar: float, Bf16. H: channels of the hidden
// layer.
template <typename Scalar>
void swiglu_forward(const CpuContext& ctx, Scalar* out, const Scalar* packed, int rows, int H);
template <typename Scalar>
void swiglu_forward(const CudaContext& ctx, Scalar* out, const Scalar* packed, int rows, int H);

// packed becomes its gradient, [dgate | dup]; dout (rows, H).
template <typename Scalar>
void swiglu_backward(const CpuContext& ctx, Scalar* packed, const Scalar* dout, int rows, int H);
template <typename Scalar>
void swiglu_backward(const CudaContext& ctx, Scalar* packed, const Scalar* dout, int rows, int H);

}  // namespace glint
