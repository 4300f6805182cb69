#include "kernels/cpu/few_rows.h"

#include <algorithm>
#include <iterator>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats, simd::kWidth;

template <typename Scalar>
struct Rows {
  Scalar* out;
  const Scalar *x, *weight, *bias;
  LinearShape shape;
  size_t count = static_cast<size_t>(shape.rows), in = static_cast<size_t>(shape.in),
         width = static_cast<size_t>(shape.out);
};

// Columns `columns` of out = x W + bias with W (in, out): four rows of W at a time, so that the sums are read and
// written once per four rows.
template <typename Scalar>
void by_rows(const Rows<Scalar>& a, Range columns) {
  const auto copy = [](Floats value) { return value; };
  float sums[4096];  // of all rows for some columns: these and four rows of W stay in the L1 cache
  const size_t tile = std::min<size_t>(1024, std::size(sums) / a.count / kWidth * kWidth);
  for (size_t first = columns.begin; first < columns.end; first += tile) {
    const size_t n = std::min(tile, columns.end - first);
    for (size_t r = 0; r < a.count; ++r) {
      if (a.bias) simd::map(sums + r * n, n, copy, a.bias + first);
      else std::fill_n(sums + r * n, n, 0.0f);
    }
    const Scalar* row = a.weight + first;
    size_t i = 0;
    for (; i + 4 <= a.in; i += 4, row += 4 * a.width) {
      for (size_t r = 0; r < a.count; ++r) {
        const Scalar* x = a.x + r * a.in + i;
        float* to = sums + r * n;
        const float x0 = to_float(x[0]), x1 = to_float(x[1]), x2 = to_float(x[2]), x3 = to_float(x[3]);
        const auto add = [=](Floats sum, Floats w0, Floats w1, Floats w2, Floats w3) {
          return sum + (w0 * x0 + w1 * x1) + (w2 * x2 + w3 * x3);
        };
        simd::map(to, n, add, static_cast<const float*>(to), row, row + a.width, row + 2 * a.width, row + 3 * a.width);
      }
    }
    for (; i < a.in; ++i, row += a.width) {
      for (size_t r = 0; r < a.count; ++r) {
        float* to = sums + r * n;
        simd::map(
            to, n, [factor = to_float(a.x[r * a.in + i])](Floats sum, Floats w) { return sum + w * factor; },
            static_cast<const float*>(to), row);
      }
    }
    for (size_t r = 0; r < a.count; ++r)
      simd::map(a.out + r * a.width + first, n, copy, static_cast<const float*>(sums + r * n));
  }
}

// kRows elements of out, of rows from `first_row`, with row o of W (out, in): inner products.
template <size_t kRows, typename Scalar>
void inner_products(const Rows<Scalar>& a, size_t first_row, size_t o) {
  const Scalar *w = a.weight + o * a.in, *x = a.x + first_row * a.in;
  Floats total[kRows][4] = {};
  size_t i = 0;
  for (; i + 4 * kWidth <= a.in; i += 4 * kWidth) {
    for (size_t k = 0; k < 4; ++k) {
      const Floats factor = simd::load(w + i + k * kWidth);
      for (size_t r = 0; r < kRows; ++r) total[r][k] += factor * simd::load(x + r * a.in + i + k * kWidth);
    }
  }
  for (; i + kWidth <= a.in; i += kWidth) {
    const Floats factor = simd::load(w + i);
    for (size_t r = 0; r < kRows; ++r) total[r][0] += factor * simd::load(x + r * a.in + i);
  }
  if (i < a.in) {
    const Floats factor = simd::load_first(w + i, a.in - i);
    for (size_t r = 0; r < kRows; ++r) total[r][1] += factor * simd::load_first(x + r * a.in + i, a.in - i);
  }
  for (size_t r = 0; r < kRows; ++r) {
    const float product = simd::sum((total[r][0] + total[r][1]) + (total[r][2] + total[r][3]));
    a.out[(first_row + r) * a.width + o] = from_float<Scalar>(a.bias ? product + to_float(a.bias[o]) : product);
  }
}

template <typename Scalar>
void by_inner_products(const Rows<Scalar>& a, Range range) {
  constexpr size_t kAtOnce = kWidth >= 16 ? 4 : 2;  // their sums fit into the registers
  constexpr size_t kTile = 8;                       // rows of W that stay in the L1 cache
  for (size_t first = range.begin; first < range.end; first += kTile) {
    const size_t end = std::min(first + kTile, range.end);
    size_t r = 0;
    for (; r + kAtOnce <= a.count; r += kAtOnce)
      for (size_t o = first; o < end; ++o) inner_products<kAtOnce>(a, r, o);
    for (; r < a.count; ++r)
      for (size_t o = first; o < end; ++o) inner_products<1>(a, r, o);
  }
}

}  // namespace

template <typename Scalar>
void few_rows_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                      const LinearShape& shape) {
  const Rows<Scalar> rows{out, x, weight, bias, shape};
  parallel_ranges(ctx, rows.width, 16, rows.in * rows.width / 16 * rows.count, [&](Range range) {
    if (shape.layout == WeightLayout::in_out) by_rows(rows, range);
    else by_inner_products(rows, range);
  });
}

template void few_rows_forward(const CpuContext&, float*, const float*, const float*, const float*, const LinearShape&);
template void few_rows_forward(const CpuContext&, Bf16*, const Bf16*, const Bf16*, const Bf16*, const LinearShape&);

}  // namespace glint
