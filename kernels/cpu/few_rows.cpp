#include "kernels/cpu/few_rows.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

struct Rows {
  float* out;
  const float *x, *weight, *bias;
  LinearShape shape;
  size_t count = static_cast<size_t>(shape.rows), in = static_cast<size_t>(shape.in),
         width = static_cast<size_t>(shape.out);
};

// Columns `columns` of out = x W + bias with W (in, out): four rows of W at a time, so that out is read and
// written once per four rows.
void by_rows(const Rows& a, Range columns) {
  const size_t tile = a.count == 1 ? 1024 : 512;  // elements of out, and rows of W, that stay in the L1 cache
  for (size_t first = columns.begin; first < columns.end; first += tile) {
    const size_t n = std::min(tile, columns.end - first);
    for (size_t r = 0; r < a.count; ++r) {
      float* to = a.out + r * a.width + first;
      if (a.bias) std::copy_n(a.bias + first, n, to);
      else std::fill_n(to, n, 0.0f);
    }
    const float* row = a.weight + first;
    size_t i = 0;
    for (; i + 4 <= a.in; i += 4, row += 4 * a.width) {
      for (size_t r = 0; r < a.count; ++r) {
        const float* x = a.x + r * a.in + i;
        float* to = a.out + r * a.width + first;
        const float x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
        const auto add = [=](Floats sum, Floats w0, Floats w1, Floats w2, Floats w3) {
          return sum + (w0 * x0 + w1 * x1) + (w2 * x2 + w3 * x3);
        };
        simd::map(to, n, add, static_cast<const float*>(to), row, row + a.width, row + 2 * a.width, row + 3 * a.width);
      }
    }
    for (; i < a.in; ++i, row += a.width) {
      for (size_t r = 0; r < a.count; ++r) {
        float* to = a.out + r * a.width + first;
        simd::map(
            to, n, [factor = a.x[r * a.in + i]](Floats sum, Floats w) { return sum + w * factor; },
            static_cast<const float*>(to), row);
      }
    }
  }
}

// Elements `range` of each row of out with W (out, in): one inner product each.
void by_inner_products(const Rows& a, Range range) {
  for (size_t o = range.begin; o < range.end; ++o) {
    for (size_t r = 0; r < a.count; ++r) {
      const float product = simd::sum_of(
          a.in, [](Floats w, Floats x) { return w * x; }, a.weight + o * a.in, a.x + r * a.in);
      a.out[r * a.width + o] = a.bias ? product + a.bias[o] : product;
    }
  }
}

}  // namespace

void few_rows_forward(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                      const LinearShape& shape) {
  const Rows rows{out, x, weight, bias, shape};
  parallel_ranges(ctx, rows.width, 16, rows.in * rows.width / 16 * rows.count, [&](Range range) {
    if (shape.layout == WeightLayout::in_out) by_rows(rows, range);
    else by_inner_products(rows, range);
  });
}

}  // namespace glint
