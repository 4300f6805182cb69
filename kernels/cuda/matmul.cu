// Linear layers by cuBLASLt. It is column-major: a row-major (rows, columns) array is its (columns, rows) matrix, so that
// each product is computed transposed, out^T = W^T x^T.
#include "kernels/matmul.h"

#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/reduce.h"

namespace glint {

namespace {

template <typename Scalar>
inline constexpr cudaDataType_t kType = std::is_same_v<Scalar, Bf16> ? CUDA_R_16BF : CUDA_R_32F;

void multiply(const CudaContext& ctx, const ColumnMajorProduct& product) {
  GLINT_CHECK(ctx.matmul, "the context has no state for matrix products");
  ctx.matmul->multiply(ctx, product);
}

}  // namespace

template <typename Scalar>
void linear_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                    const LinearShape& shape) {
  const bool turned = shape.layout == WeightLayout::out_in;
  multiply(ctx, {.m = shape.out, .n = shape.rows, .k = shape.in, .transpose_a = turned, .transpose_b = false,
                 .a = weight, .b = x, .d = out, .inputs = kType<Scalar>, .output = kType<Scalar>,
                 .epilogue = bias ? Epilogue::bias : Epilogue::none, .bias = bias});
}

template <typename Scalar>
void linear_backward_input(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* weight, const LinearShape& shape,
                           Write write) {
  const bool turned = shape.layout == WeightLayout::in_out;
  multiply(ctx, {.m = shape.in, .n = shape.rows, .k = shape.out, .transpose_a = turned, .transpose_b = false,
                 .a = weight, .b = dout, .d = dx, .inputs = kType<Scalar>, .output = kType<Scalar>, .add = write == Write::add});
}

size_t linear_backward_weight_scratch(const CudaContext& ctx, const LinearShape& shape) {
  return column_sums_scratch(ctx, shape.rows, shape.out);
}

template <typename Scalar>
void linear_backward_weight(const CudaContext& ctx, float* dweight, float* dbias, const Scalar* x, const Scalar* dout,
                            float* scratch, const LinearShape& shape, Write write) {
  const bool in_out = shape.layout == WeightLayout::in_out;
  multiply(ctx, {.m = in_out ? shape.out : shape.in, .n = in_out ? shape.in : shape.out, .k = shape.rows,
                 .transpose_a = false, .transpose_b = true, .a = in_out ? dout : x, .b = in_out ? x : dout, .d = dweight,
                 .inputs = kType<Scalar>, .output = CUDA_R_32F, .add = write == Write::add});
  if (dbias) column_sums(ctx, dbias, dout, shape.rows, shape.out, scratch, write);
}

#define GLINT_INSTANTIATE(Scalar)                                                                                          \
  template void linear_forward(const CudaContext&, Scalar*, const Scalar*, const Scalar*, const Scalar*, const LinearShape&); \
  template void linear_backward_input(const CudaContext&, Scalar*, const Scalar*, const Scalar*, const LinearShape&, Write);  \
  template void linear_backward_weight(const CudaContext&, float*, float*, const Scalar*, const Scalar*, float*,              \
                                       const LinearShape&, Write);
GLINT_INSTANTIATE(float)
GLINT_INSTANTIATE(Bf16)
#undef GLINT_INSTANTIATE

}  // namespace glint
