#include "kernels/layernorm.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats, simd::TwoFloats;

// Rows per block: parameter gradients are summed per block, then over blocks. The result does not depend on the thread
// count, and rounding errors grow with the block, not with the batch.
constexpr size_t kBlockRows = 64;

size_t blocks_of(const LayerNormShape& shape) {
  return (static_cast<size_t>(shape.rows) + kBlockRows - 1) / kBlockRows;
}

struct Moments {
  float mean, rstd;
};

template <typename Scalar>
float mean_of(const Scalar* x, size_t C) {
  return simd::sum_of(
             C, [](Floats value) { return value; }, x) /
         static_cast<float>(C);
}

template <typename Scalar>
Moments moments_of(const Scalar* x, size_t C, float eps, float mean) {
  const size_t whole = C - C % simd::kWidth;
  float squares = simd::sum_of(
      whole, [mean](Floats value) { return (value - mean) * (value - mean); }, x);
  for (size_t c = whole; c < C; ++c) squares += (to_float(x[c]) - mean) * (to_float(x[c]) - mean);
  return {mean, 1.0f / std::sqrt(squares / static_cast<float>(C) + eps)};
}

// The arrays that backward uses, of one row.
template <typename Scalar>
struct BackwardRow {
  Scalar* dx;
  const Scalar *dout, *x;
  const float* weight;
  Moments moments;
  bool rms;
};

// Adds the row to dweight and dbias (C) and writes or adds its dx. With w = dout * weight and n = (x - mean) * rstd:
// dx = rstd * (w - mean(w) - n * mean(w * n)), in RMSNorm without mean(w).
template <Write kWrite, typename Scalar>
void backward_row(float* dweight, float* dbias, const BackwardRow<Scalar>& row, size_t C) {
  const float mean = row.moments.mean, rstd = row.moments.rstd;
  Floats sum_w{}, sum_wn{};
  const auto accumulate = [&](Floats dout, Floats x, Floats weight, Floats dw, Floats db) -> TwoFloats {
    const Floats n = (x - mean) * rstd, w = dout * weight;
    sum_w += w;  // dout is 0 past the end of the row
    sum_wn += w * n;
    return {dw + dout * n, db + dout};
  };
  simd::map_two(dweight, dbias, C, accumulate, row.dout, row.x, row.weight, dweight, dbias);
  const float mean_w = row.rms ? 0.0f : simd::sum(sum_w) / static_cast<float>(C),
              mean_wn = simd::sum(sum_wn) / static_cast<float>(C);
  const auto gradient = [=](Floats dout, Floats x, Floats weight) {
    return (dout * weight - mean_w - (x - mean) * rstd * mean_wn) * rstd;
  };
  if constexpr (kWrite == Write::set) {
    simd::map(row.dx, C, gradient, row.dout, row.x, row.weight);
  } else {
    const auto added = [=](Floats dout, Floats x, Floats weight, Floats dx) { return dx + gradient(dout, x, weight); };
    simd::map(row.dx, C, added, row.dout, row.x, row.weight, row.dx);
  }
}

// to (C) = or += the sum over blocks of partial (blocks, 2*C), columns of `range`.
void add_blocks(float* to, const float* partial, size_t blocks, size_t C, Range range, Write write) {
  const size_t n = range.end - range.begin;
  if (write == Write::set) std::fill_n(to + range.begin, n, 0.0f);
  float* sums = to + range.begin;
  for (size_t block = 0; block < blocks; ++block) {
    simd::map(
        sums, n, [](Floats a, Floats b) { return a + b; }, sums, partial + block * 2 * C + range.begin);
  }
}

}  // namespace

template <typename Scalar>
void layernorm_forward(const CpuContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x,
                       const float* weight, const float* bias, const LayerNormShape& shape) {
  const size_t rows = static_cast<size_t>(shape.rows), C = static_cast<size_t>(shape.C);
  parallel_ranges(ctx, rows, 1, rows * C / 2, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      const Moments m = moments_of(x + row * C, C, shape.eps, mean ? mean_of(x + row * C, C) : 0.0f);
      if (mean) mean[row] = m.mean;
      rstd[row] = m.rstd;
      const auto scaled = [m](Floats value, Floats w) { return (value - m.mean) * m.rstd * w; };
      if (bias) {
        const auto shifted = [&](Floats value, Floats w, Floats b) { return scaled(value, w) + b; };
        simd::map(out + row * C, C, shifted, x + row * C, weight, bias);
      } else {
        simd::map(out + row * C, C, scaled, x + row * C, weight);
      }
    }
  });
}

size_t layernorm_backward_scratch(const CpuContext&, const LayerNormShape& shape) {
  return blocks_of(shape) * 2 * static_cast<size_t>(shape.C);
}

template <typename Scalar>
void layernorm_backward(const CpuContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout,
                        const Scalar* x, const float* mean, const float* rstd, const float* weight, float* scratch,
                        const LayerNormShape& shape, Write write_dx, Write write_parameters) {
  const size_t rows = static_cast<size_t>(shape.rows), C = static_cast<size_t>(shape.C), blocks = blocks_of(shape);
  const auto backward = write_dx == Write::set ? backward_row<Write::set, Scalar> : backward_row<Write::add, Scalar>;
  parallel_ranges(ctx, blocks, 1, rows * C / 2, [&](Range range) {
    for (size_t block = range.begin; block < range.end; ++block) {
      float* partial = scratch + block * 2 * C;  // (2, C): dweight, dbias
      std::fill_n(partial, 2 * C, 0.0f);
      for (size_t row = block * kBlockRows; row < std::min(rows, (block + 1) * kBlockRows); ++row) {
        const size_t at = row * C;
        backward(partial, partial + C,
                 {dx + at, dout + at, x + at, weight, {mean ? mean[row] : 0.0f, rstd[row]}, !mean}, C);
      }
    }
  });
  parallel_ranges(ctx, C, 16, blocks * C / 2, [&](Range range) {
    add_blocks(dweight, scratch, blocks, C, range, write_parameters);
    if (dbias) add_blocks(dbias, scratch + C, blocks, C, range, write_parameters);
  });
}

template void layernorm_forward(const CpuContext&, float*, float*, float*, const float*, const float*, const float*,
                                const LayerNormShape&);
template void layernorm_forward(const CpuContext&, Bf16*, float*, float*, const Bf16*, const float*, const float*,
                                const LayerNormShape&);
template void layernorm_backward(const CpuContext&, float*, float*, float*, const float*, const float*, const float*,
                                 const float*, const float*, float*, const LayerNormShape&, Write, Write);
template void layernorm_backward(const CpuContext&, Bf16*, float*, float*, const Bf16*, const Bf16*, const float*,
                                 const float*, const float*, float*, const LayerNormShape&, Write, Write);

}  // namespace glint
