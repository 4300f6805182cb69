#include "kernels/cpu/gemv.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

// Columns `columns` of out = x W + bias with W (in, out): four rows of W at a time, so that out is read and
// written once per four rows.
void by_rows(float* out, const float* x, const float* weight, const float* bias, size_t in, size_t out_width,
             Range columns) {
  constexpr size_t kTile = 1024;  // elements of out that stay in the L1 cache
  for (size_t first = columns.begin; first < columns.end; first += kTile) {
    const size_t n = std::min(kTile, columns.end - first);
    float* to = out + first;
    const float* sums = to;
    const float* row = weight + first;
    if (bias) {
      std::copy_n(bias + first, n, to);
    } else {
      std::fill_n(to, n, 0.0f);
    }
    size_t i = 0;
    for (; i + 4 <= in; i += 4, row += 4 * out_width) {
      const float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
      const auto add = [=](Floats sum, Floats a, Floats b, Floats c, Floats d) {
        return sum + (a * x0 + b * x1) + (c * x2 + d * x3);
      };
      simd::map(to, n, add, sums, row, row + out_width, row + 2 * out_width, row + 3 * out_width);
    }
    for (; i < in; ++i, row += out_width) {
      simd::map(
          to, n, [factor = x[i]](Floats sum, Floats a) { return sum + a * factor; }, sums, row);
    }
  }
}

// Elements `range` of out with W (out, in): one inner product each.
void by_inner_products(float* out, const float* x, const float* weight, const float* bias, size_t in, Range range) {
  for (size_t o = range.begin; o < range.end; ++o) {
    const float product = simd::sum_of(
        in, [](Floats a, Floats b) { return a * b; }, weight + o * in, x);
    out[o] = bias ? product + bias[o] : product;
  }
}

}  // namespace

void matrix_times_vector(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                         const LinearShape& shape) {
  const size_t in = static_cast<size_t>(shape.in), width = static_cast<size_t>(shape.out);
  parallel_ranges(ctx, width, 16, in * width / 16, [=](Range range) {
    if (shape.layout == WeightLayout::in_out) {
      by_rows(out, x, weight, bias, in, width, range);
    } else {
      by_inner_products(out, x, weight, bias, in, range);
    }
  });
}

}  // namespace glint
