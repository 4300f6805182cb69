// Runs the two kernels one after the other, as the oracle of the fused GPU kernel.
#include "kernels/residual_layernorm.h"

#include "kernels/residual.h"

namespace glint {
namespace {

LayerNormShape rows_of(const ResidualLayerNormShape& shape) { return {shape.B * shape.T, shape.C, shape.eps}; }

}  // namespace

template <typename Scalar>
void residual_layernorm_forward(const CpuContext& ctx, Scalar* out, Scalar* sum, float* mean, float* rstd,
                                const Scalar* x, const Scalar* y, const float* weight, const float* bias,
                                const ResidualLayerNormShape& shape, const Dropout& dropout) {
  residual_dropout_forward(ctx, sum, x, y, {shape.B, shape.T, shape.C}, dropout);
  layernorm_forward(ctx, out, mean, rstd, sum, weight, bias, rows_of(shape));
}

size_t residual_layernorm_backward_scratch(const CpuContext& ctx, const ResidualLayerNormShape& shape) {
  return layernorm_backward_scratch(ctx, rows_of(shape));
}

template <typename Scalar>
void residual_layernorm_backward(const CpuContext& ctx, Scalar* dsum, Scalar* dy, float* dweight, float* dbias,
                                 const Scalar* dout, const Scalar* sum, const float* mean, const float* rstd,
                                 const float* weight, float* scratch, const ResidualLayerNormShape& shape,
                                 const Dropout& dropout, Write write_parameters) {
  layernorm_backward(ctx, dsum, dweight, dbias, dout, sum, mean, rstd, weight, scratch, rows_of(shape), Write::add,
                     write_parameters);
  residual_dropout_backward(ctx, dy, dsum, {shape.B, shape.T, shape.C}, dropout);
}

template void residual_layernorm_forward(const CpuContext&, float*, float*, float*, float*, const float*, const float*,
                                         const float*, const float*, const ResidualLayerNormShape&, const Dropout&);
template void residual_layernorm_forward(const CpuContext&, Bf16*, Bf16*, float*, float*, const Bf16*, const Bf16*,
                                         const float*, const float*, const ResidualLayerNormShape&, const Dropout&);
template void residual_layernorm_backward(const CpuContext&, float*, float*, float*, float*, const float*, const float*,
                                          const float*, const float*, const float*, float*,
                                          const ResidualLayerNormShape&, const Dropout&, Write);
template void residual_layernorm_backward(const CpuContext&, Bf16*, Bf16*, float*, float*, const Bf16*, const Bf16*,
                                          const float*, const float*, const float*, float*,
                                          const ResidualLayerNormShape&, const Dropout&, Write);

}  // namespace glint
