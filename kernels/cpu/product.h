// What a matrix engine does: one product, of which kernels/matmul.h's linear layers are made.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace glint {

// A row-major factor, as it lies in memory or turned over.
template <typename Scalar>
struct FactorOf {
  const Scalar* data;
  bool transposed;
};

// c (M, N) = or += a (M, K) b (K, N). A transposed a lies as (K, M), a transposed b as (N, K).
template <typename Scalar, typename Result>
struct ProductOf {
  int64_t M, N, K;
  FactorOf<Scalar> a, b;
  Result* c;
  Write write;
};
using Product = ProductOf<float, float>;

// out (rows, n) += bias (n) in every row
void add_bias(const CpuContext& ctx, float* out, const float* bias, size_t rows, size_t n);

void multiply_eigen(const CpuContext& ctx, const Product& product);

// The rest in a build with GLINT_WITH_ONEDNN.
void multiply_onednn(const CpuContext& ctx, const Product& product);

// Whether this CPU has instructions for products of bf16 (AVX512_BF16, AMX), which oneDNN then takes.
bool cpu_multiplies_bf16();
// By oneDNN's matmul primitive: sums in fp32, rounded once where Result is Bf16. (Bf16, float), (Bf16, Bf16) where
// cpu_multiplies_bf16(); (float, float) everywhere, so that tests can follow the same path.
template <typename Scalar, typename Result>
void multiply_primitive(const CpuContext& ctx, const ProductOf<Scalar, Result>& product);

}  // namespace glint
