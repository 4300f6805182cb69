// The matrix products of one attention tile, on registers: C (rows x columns) from A (rows x depth) and
// B (depth x columns), all small and in cache. C is cut into blocks of kBlockRows rows by two vectors that stay
// in registers over the whole depth; every step of depth loads two vectors of B and broadcasts kBlockRows numbers of A.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "kernels/cpu/simd.h"

namespace glint::attention {

using simd::kWidth;

// Two vectors of B, one broadcast of A and the block of C fill the registers.
inline constexpr int kBlockRows = simd::kRegisters == 32 ? 12 : 6;
inline constexpr int kBlockColumns = 2 * kWidth;

// Whether the rows of A's array are rows of A or its columns.
enum class By { row, column };

// C = A B, or C += A B, or with row_scale C = diag(row_scale) C + A B.
enum class Start { zero, add };

// A matrix by its rows, of any width.
template <typename Scalar>
struct Rows {
  Scalar* data;
  std::ptrdiff_t stride;

  Rows from(int row) const { return {data + row * stride, stride}; }
  Rows from(int row, int column) const { return {data + row * stride + column, stride}; }
};

// C (kRows x kVectors vectors), the block whose corner the operands point at.
template <typename Vector, int kRows, int kVectors, By kBy>
inline void block_product(Rows<float> c, Rows<const float> a, Rows<const float> b, int depth, Start start,
                          const float* row_scale) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
  Vector sums[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Vector{};
  }
#pragma clang loop unroll(disable)  // unrolled, loads move up and the sums spill
  for (int k = 0; k < depth; ++k) {
    Vector right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = simd::load<Vector>(b.data + k * b.stride + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Vector left = simd::broadcast<Vector>(kBy == By::row ? a.data[r * a.stride + k] : a.data[k * a.stride + r]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* to = c.data + r * c.stride + v * kLanes;
      if (start == Start::add) sums[r][v] += simd::load<Vector>(to) * (row_scale ? row_scale[r] : 1.0f);
      simd::store(to, sums[r][v]);
    }
  }
}

// kRows rows of C, all columns; columns a multiple of 8 (of kWidth where that is less).
template <int kRows, By kBy>
[[gnu::noinline]] void rows_product(Rows<float> c, Rows<const float> a, Rows<const float> b, int columns, int depth,
                                    Start start, const float* row_scale) {
  int column = 0;
  const auto block = [&](auto vector, auto vectors) {
    using Vector = decltype(vector);
    block_product<Vector, kRows, vectors, kBy>({c.data + column, c.stride}, a, {b.data + column, b.stride}, depth,
                                               start, row_scale);
    column += static_cast<int>(vectors * sizeof(Vector) / sizeof(float));
  };
  while (columns - column >= kBlockColumns) block(simd::Floats{}, std::integral_constant<int, 2>{});
  if (columns - column >= kWidth) block(simd::Floats{}, std::integral_constant<int, 1>{});
  if constexpr (kWidth > 8) {
    if (columns - column >= 8) block(simd::Float8{}, std::integral_constant<int, 1>{});
  }
}

// The same for a number of rows known at run time, 1 .. kBlockRows.
template <By kBy, int kRows = kBlockRows>
inline void some_rows_product(int rows, Rows<float> c, Rows<const float> a, Rows<const float> b, int columns, int depth,
                              Start start, const float* row_scale) {
  if (rows == kRows) {
    rows_product<kRows, kBy>(c, a, b, columns, depth, start, row_scale);
  } else if constexpr (kRows > 1) {
    some_rows_product<kBy, kRows - 1>(rows, c, a, b, columns, depth, start, row_scale);
  }
}

}  // namespace glint::attention
