#include "kernels/linear_gelu.h"

namespace glint {

template <typename Scalar>
void linear_gelu_forward(const CpuContext& ctx, Scalar* out, Scalar* pre, const Scalar* x, const Scalar* weight,
                         const Scalar* bias, const LinearShape& shape, Gelu kind) {
  linear_forward(ctx, pre, x, weight, bias, shape);
  gelu_forward(ctx, out, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.out), kind);
}

template <typename Scalar>
void linear_gelu_backward_input(const CpuContext& ctx, Scalar* dpre, const Scalar* dout, const Scalar* weight,
                                const Scalar* pre, const LinearShape& shape, Gelu kind) {
  linear_backward_input(ctx, dpre, dout, weight, shape, Write::set);
  gelu_backward(ctx, dpre, dpre, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.in), kind);
}

template void linear_gelu_forward(const CpuContext&, float*, float*, const float*, const float*, const float*,
                                  const LinearShape&, Gelu);
template void linear_gelu_forward(const CpuContext&, Bf16*, Bf16*, const Bf16*, const Bf16*, const Bf16*,
                                  const LinearShape&, Gelu);
template void linear_gelu_backward_input(const CpuContext&, float*, const float*, const float*, const float*,
                                         const LinearShape&, Gelu);
template void linear_gelu_backward_input(const CpuContext&, Bf16*, const Bf16*, const Bf16*, const Bf16*,
                                         const LinearShape&, Gelu);

}  // namespace glint
