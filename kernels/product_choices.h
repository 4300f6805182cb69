// Which algorithm computes each matrix product on a GPU: chosen by measurement, and kept, so that a later program
// computes the same bits. On a CPU there is no choice.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "kernels/context.h"

namespace glint {

enum class Epilogue {
  none,
  bias,           // d += bias (m) in every column
  gelu,           // aux = d, d = gelu(aux), the tanh form
  gelu_bias,      // the same with bias before
  gelu_backward,  // d *= gelu'(aux)
  bias_gradient,  // bias = sums of op(a)'s rows
};

// d (m, n) = op(a) (m, k) op(b) (k, n), or +=; column-major.
struct ProductKey {
  int m, n, k;
  bool transpose_a, transpose_b;
  bool bf16, bf16_output;  // a and b; d. Otherwise fp32
  bool tf32, add;
  Epilogue epilogue;
  unsigned alignment;  // bytes: a power of two up to 256 that divides the addresses of a, b and d
  int count = 1;       // of products side by side

  auto operator<=>(const ProductKey&) const = default;
};

struct ProductChoice {
  using Algorithm = std::array<uint64_t, 8>;  // cublasLtMatmulAlgo_t, which the same version of the library reads again
  std::optional<Algorithm> algorithm;         // none: product and epilogue apart
  int candidates = 0;                         // measured; 0: the library's own choice
  int chosen = 0;                             // its place among them, from 0; candidates: apart
  double first_us = 0, us = 0;                // microseconds of the library's own choice, and of this one
};

struct ProductTable {
  std::string gpu;
  uint64_t library = 0;  // version of cuBLASLt
  std::map<ProductKey, ProductChoice> choices;
};

// While on, a product that occurs for the first time tries candidates on its arrays, which it overwrites several times.
// Not while a graph is captured.
void tune_products(const CudaContext& ctx, bool on);
inline void tune_products(const CpuContext&, bool) {}

// What has been measured or taken, without what the library has refused.
ProductTable product_table(const CudaContext& ctx);
inline ProductTable product_table(const CpuContext&) { return {}; }

// Uses these choices, if the table is of this GPU and library; otherwise returns false.
bool take_products(const CudaContext& ctx, const ProductTable& table);
inline bool take_products(const CpuContext&, const ProductTable& table) { return table.choices.empty(); }

}  // namespace glint
