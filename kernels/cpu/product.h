// What a matrix engine does: one product, of which kernels/matmul.h's linear layers are made.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace glint {

// A row-major factor, as it lies in memory or turned over.
struct Factor {
  const float* data;
  bool transposed;
};

// c (M, N) = or += a (M, K) b (K, N). A transposed a lies as (K, M), a transposed b as (N, K).
struct Product {
  int64_t M, N, K;
  Factor a, b;
  float* c;
  Write write;
};

void multiply_eigen(const CpuContext& ctx, const Product& product);
void multiply_onednn(const CpuContext& ctx, const Product& product);  // in a build with GLINT_WITH_ONEDNN

}  // namespace glint
