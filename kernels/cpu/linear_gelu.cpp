#include "kernels/linear_gelu.h"

namespace glint {

void linear_gelu_forward(const CpuContext& ctx, float* out, float* pre, const float* x, const float* weight, const float* bias,
                         const LinearShape& shape, Gelu kind) {
  linear_forward(ctx, pre, x, weight, bias, shape);
  gelu_forward(ctx, out, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.out), kind);
}

void linear_gelu_backward_input(const CpuContext& ctx, float* dpre, const float* dout, const float* weight, const float* pre,
                                const LinearShape& shape, Gelu kind) {
  linear_backward_input(ctx, dpre, dout, weight, shape, Write::set);
  gelu_backward(ctx, dpre, dpre, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.in), kind);
}

}  // namespace glint
