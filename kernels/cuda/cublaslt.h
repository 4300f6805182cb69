// One matrix product by cuBLASLt, with what may follow it in the same pass (an epilogue).
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <map>
#include <tuple>

#include "kernels/context.h"
#include "kernels/cuda/matmul.h"

namespace glint {

enum class Epilogue {
  none,
  bias,        // d += bias (m) in every column
  gelu,        // aux = d + bias, d = gelu_tanh(aux)
  gelu_backward,  // d *= gelu_tanh'(aux), bias = sums of d's rows
};

// d (m, n) = op(a) (m, k) op(b) (k, n), or +=; column-major without gaps. In row-major eyes everything is transposed.
struct ColumnMajorProduct {
  int m, n, k;
  bool transpose_a, transpose_b;
  const void *a, *b;
  void* d;
  cudaDataType_t inputs, output;  // CUDA_R_32F or CUDA_R_16BF; sums are fp32
  bool add = false;
  Epilogue epilogue = Epilogue::none;
  const void* bias = nullptr;  // of d's type
  void* aux = nullptr;         // (m, n), of d's type
};

class CudaMatmul {
 public:
  CudaMatmul();
  CudaMatmul(const CudaMatmul&) = delete;
  CudaMatmul& operator=(const CudaMatmul&) = delete;
  ~CudaMatmul();
  void multiply(const CudaContext& ctx, const ColumnMajorProduct& product);

 private:
  using Key = std::tuple<int, int, int, bool, bool, int, int, bool, Epilogue, bool, unsigned>;

  static constexpr size_t kWorkspace = size_t{32} << 20;  // what NVIDIA advises for Hopper

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> chosen_;
};

}  // namespace glint
