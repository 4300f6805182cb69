#include "kernels/linear_gelu.h"

#include "kernels/bf16.h"
#include "kernels/cuda/cublaslt.h"

namespace glint {

namespace {

// cuBLASLt's GELU is the tanh form. It saves its input in rows of a multiple of 16 bytes.
template <typename Scalar>
bool fusible(Gelu kind, int columns) {
  return kind == Gelu::tanh && columns % (16 / static_cast<int>(sizeof(Scalar))) == 0;
}

}  // namespace

template <typename Scalar>
void linear_gelu_forward(const CudaContext& ctx, Scalar* out, Scalar* pre, const Scalar* x, const Scalar* weight,
                         const Scalar* bias, const LinearShape& shape, Gelu kind) {
  const auto apart = [&] {
    linear_forward(ctx, pre, x, weight, bias, shape);
    gelu_forward(ctx, out, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.out), kind);
  };
  if (fusible<Scalar>(kind, shape.out)) {
    ColumnMajorProduct product = forward_product(out, x, weight, bias, shape);
    product.epilogue = bias ? Epilogue::gelu_bias : Epilogue::gelu;
    product.aux = pre;
    if (multiply(ctx, product, apart)) return;
  }
  apart();
}

template <typename Scalar>
void linear_gelu_backward_input(const CudaContext& ctx, Scalar* dpre, const Scalar* dout, const Scalar* weight,
                                const Scalar* pre, const LinearShape& shape, Gelu kind) {
  const auto apart = [&] {
    linear_backward_input(ctx, dpre, dout, weight, shape, Write::set);
    gelu_backward(ctx, dpre, dpre, pre, static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.in), kind);
  };
  if (fusible<Scalar>(kind, shape.in)) {
    ColumnMajorProduct product = backward_input_product(dpre, dout, weight, shape);
    product.epilogue = Epilogue::gelu_backward;
    product.aux = const_cast<Scalar*>(pre);  // only read in backward
    if (multiply(ctx, product, apart)) return;
  }
  apart();
}

template void linear_gelu_forward(const CudaContext&, float*, float*, const float*, const float*, const float*,
                                  const LinearShape&, Gelu);
template void linear_gelu_forward(const CudaContext&, Bf16*, Bf16*, const Bf16*, const Bf16*, const Bf16*,
                                  const LinearShape&, Gelu);
template void linear_gelu_backward_input(const CudaContext&, float*, const float*, const float*, const float*,
                                         const LinearShape&, Gelu);
template void linear_gelu_backward_input(const CudaContext&, Bf16*, const Bf16*, const Bf16*, const Bf16*,
                                         const LinearShape&, Gelu);

}  // namespace glint
