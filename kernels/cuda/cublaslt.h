// One matrix product by cuBLASLt, with an optional epilogue.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/context.h"
#include "kernels/cuda/cublaslt_functions.h"
#include "kernels/cuda/matmul.h"
#include "kernels/matmul.h"
#include "kernels/product_choices.h"

namespace glint {

// d (m, n) = op(a) (m, k) op(b) (k, n), or +=; column-major without gaps. `count` of them, one behind another.
struct ColumnMajorProduct {
  int m, n, k;
  bool transpose_a, transpose_b;
  const void *a, *b;
  void* d;
  cudaDataType_t inputs, output;  // CUDA_R_32F or CUDA_R_16BF; sums are fp32
  bool add = false;
  Epilogue epilogue = Epilogue::none;
  const void* bias = nullptr;  // of d's type; written by bias_gradient
  void* aux = nullptr;         // (m, n), of d's type
  int count = 1;               // more: without epilogue
};

inline constexpr size_t kMatmulWorkspace = size_t{32} << 20;  // NVIDIA's recommendation for Hopper

class CudaMatmul {
 public:
  using Work = std::function<void()>;

  CudaMatmul();
  CudaMatmul(const CudaMatmul&) = delete;
  CudaMatmul& operator=(const CudaMatmul&) = delete;
  ~CudaMatmul();
  // Returns false if cuBLASLt has no algorithm for it, or it was slower than `apart`: work with the same result, to be
  // done by the caller then.
  bool multiply(const CudaContext& ctx, const ColumnMajorProduct& product, const Work& apart = nullptr);

  void tune(bool on) { tuning_ = on; }
  ProductTable table() const;
  bool take(const ProductTable& table);

 private:
  ProductChoice choose(const CudaContext& ctx, const ColumnMajorProduct& product, const Work& apart);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  bool tuning_ = false;
  double tuned_seconds_ = 0;
  std::map<ProductKey, ProductChoice> known_;
  std::set<ProductKey> unchecked_;  // taken from a table; this library has not seen them yet
};

inline bool multiply(const CudaContext& ctx, const ColumnMajorProduct& product,
                     const CudaMatmul::Work& apart = nullptr) {
  GLINT_CHECK(ctx.matmul, "the context has no state for matrix products");
  return ctx.matmul->multiply(ctx, product, apart);
}

// A row-major (rows, columns) array is cuBLASLt's (columns, rows) matrix, so that a linear layer is computed
// transposed: out^T = W^T x^T.
template <typename Scalar>
inline constexpr cudaDataType_t kCudaType = std::is_same_v<Scalar, Bf16> ? CUDA_R_16BF : CUDA_R_32F;

template <typename Scalar>
ColumnMajorProduct forward_product(Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                                   const LinearShape& shape) {
  ColumnMajorProduct p{
      shape.out, shape.rows,        shape.in,         shape.layout == WeightLayout::out_in, false, weight, x,
      out,       kCudaType<Scalar>, kCudaType<Scalar>};
  p.epilogue = bias ? Epilogue::bias : Epilogue::none;
  p.bias = bias;
  return p;
}
template <typename Scalar>
ColumnMajorProduct backward_input_product(Scalar* dx, const Scalar* dout, const Scalar* weight,
                                          const LinearShape& shape) {
  return {shape.in, shape.rows,        shape.out,        shape.layout == WeightLayout::in_out, false, weight, dout,
          dx,       kCudaType<Scalar>, kCudaType<Scalar>};
}
template <typename Scalar>
ColumnMajorProduct backward_weight_product(float* dweight, const Scalar* x, const Scalar* dout,
                                           const LinearShape& shape) {
  const bool in_out = shape.layout == WeightLayout::in_out;
  return {in_out ? shape.out : shape.in,
          in_out ? shape.in : shape.out,
          shape.rows,
          false,
          true,
          in_out ? dout : x,
          in_out ? x : dout,
          dweight,
          kCudaType<Scalar>,
          CUDA_R_32F};
}

}  // namespace glint
