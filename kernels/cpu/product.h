// Interface of a matrix engine: one product. kernels/matmul.h builds linear layers from it.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace glint {

// A row-major factor, transposed or not.
template <typename Scalar>
struct FactorOf {
  const Scalar* data;
  bool transposed;
};

// c (M, N) = or += a (M, K) b (K, N). A transposed a is stored as (K, M), a transposed b as (N, K).
template <typename Scalar, typename Result>
struct ProductOf {
  int64_t M, N, K;
  FactorOf<Scalar> a, b;
  Result* c;
  Write write;
};
using Product = ProductOf<float, float>;

void multiply_eigen(const CpuContext& ctx, const Product& product);

// The rest only in builds with GLINT_WITH_ONEDNN.
void multiply_onednn(const CpuContext& ctx, const Product& product);

// Whether this CPU has bf16 product instructions (AVX512_BF16, AMX), which oneDNN uses.
bool cpu_multiplies_bf16();
// By oneDNN's matmul primitive: sums in fp32, rounded once where Result is Bf16. (Bf16, float), (Bf16, Bf16) where
// cpu_multiplies_bf16(); (float, float) everywhere, so that tests can use the same path. bias (N), unless null, is
// added to every row.
template <typename Scalar, typename Result>
void multiply_primitive(const CpuContext& ctx, const ProductOf<Scalar, Result>& product, const Scalar* bias = nullptr);

}  // namespace glint
