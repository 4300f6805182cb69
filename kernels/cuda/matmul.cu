#include "kernels/matmul.h"

#include "kernels/bf16.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/reduce.h"

namespace glint {

namespace {

void multiply_or_throw(const CudaContext& ctx, const ColumnMajorProduct& p) {
  GLINT_CHECK(multiply(ctx, p), "cuBLASLt has no algorithm for ", p.m, " x ", p.n, " x ", p.k);
}

}  // namespace

template <typename Scalar>
void linear_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                    const LinearShape& shape) {
  multiply_or_throw(ctx, forward_product(out, x, weight, bias, shape));
}

template <typename Scalar>
void linear_backward_input(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* weight,
                           const LinearShape& shape, Write write) {
  ColumnMajorProduct product = backward_input_product(dx, dout, weight, shape);
  product.add = write == Write::add;
  multiply_or_throw(ctx, product);
}

size_t linear_backward_weight_scratch(const CudaContext& ctx, const LinearShape& shape) {
  return column_sums_scratch(ctx, shape.rows, shape.out);
}

template <typename Scalar>
void linear_backward_weight(const CudaContext& ctx, float* dweight, float* dbias, const Scalar* x, const Scalar* dout,
                            float* scratch, const LinearShape& shape, Write write) {
  ColumnMajorProduct product = backward_weight_product(dweight, x, dout, shape);
  product.add = write == Write::add;
  const auto apart = [&] {
    multiply_or_throw(ctx, product);
    if (dbias) column_sums(ctx, dbias, dout, shape.rows, shape.out, scratch, write);
  };
  if (dbias && write == Write::set && shape.layout == WeightLayout::in_out) {
    ColumnMajorProduct with_bias = product;
    with_bias.epilogue = Epilogue::bias_gradient;
    with_bias.bias = dbias;
    if (multiply(ctx, with_bias, apart)) return;
  }
  apart();
}

template void linear_forward(const CudaContext&, float*, const float*, const float*, const float*, const LinearShape&);
template void linear_forward(const CudaContext&, Bf16*, const Bf16*, const Bf16*, const Bf16*, const LinearShape&);
template void linear_backward_input(const CudaContext&, float*, const float*, const float*, const LinearShape&, Write);
template void linear_backward_input(const CudaContext&, Bf16*, const Bf16*, const Bf16*, const LinearShape&, Write);
template void linear_backward_weight(const CudaContext&, float*, float*, const float*, const float*, float*,
                                     const LinearShape&, Write);
template void linear_backward_weight(const CudaContext&, float*, float*, const Bf16*, const Bf16*, float*,
                                     const LinearShape&, Write);

}  // namespace glint
