#include "kernels/muon.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/newton_schulz.h"
#include "kernels/reduce.h"

namespace glint {

void muon_momentum(const CpuContext& ctx, float* gradients, float* m, size_t n, const Muon& settings,
                   const AdamWStep* step) {
  if (step->halted) return;
  const float scale = step->gradient_scale, momentum = settings.momentum;
  parallel_ranges(ctx, n, 16, n, [=](Range range) {
#pragma omp simd
    for (size_t i = range.begin; i < range.end; ++i) {
      const float gradient = gradients[i] * scale;
      m[i] += (1 - momentum) * (gradient - m[i]);
      gradients[i] = gradient + momentum * (m[i] - gradient);
    }
  });
}

size_t orthogonalize_scratch(const CpuContext&, const MatrixSize& size, int, MuonProducts products) {
  return products == MuonProducts::bf16 ? NewtonSchulzScratch<Bf16>(size, 1, 0, nullptr).bytes
                                        : NewtonSchulzScratch<float>(size, 1, 0, nullptr).bytes;
}

double orthogonalize_flops(const MatrixSize& size) {
  const double r = size.shorter(), c = size.longer();
  return NewtonSchulz::kSteps * 2 * (2 * r * r * c + r * r * r);
}

namespace {

// out = factor * x (rows, columns), or (columns, rows) = its transpose, by blocks that the cache holds.
template <typename Out, typename In>
void copy_scaled(const CpuContext& ctx, Out* out, const In* x, const MatrixSize& size, float factor, bool transposed) {
  const auto rows = static_cast<size_t>(size.rows), columns = static_cast<size_t>(size.columns);
  constexpr size_t kBlock = 32;
  parallel_ranges(ctx, rows, kBlock, rows * columns, [=](Range range) {
    if (!transposed) {
      const size_t begin = range.begin * columns, n = range.end * columns - begin;
      simd::map(
          out + begin, n, [=](simd::Floats value) { return factor * value; }, x + begin);
      return;
    }
    for (size_t begin = 0; begin < columns; begin += kBlock)
      for (size_t i = range.begin; i < range.end; ++i)
        for (size_t j = begin; j < std::min(begin + kBlock, columns); ++j)
          out[j * rows + i] = from_float<Out>(factor * to_float(x[i * columns + j]));
  });
}

// polynomial (n, n): A^2 becomes p(A), with A = gram.
template <typename Scalar>
void polynomial_of(const CpuContext& ctx, Scalar* polynomial, const Scalar* gram, size_t n) {
  parallel_ranges(ctx, n, 1, n * n, [=](Range range) {
    for (size_t i = range.begin; i < range.end; ++i) {
      Scalar* const row = polynomial + i * n;
      const Scalar *const gram_row = gram + i * n, *const square_row = row;
      const float diagonal = NewtonSchulz::kB * to_float(gram_row[i]) + NewtonSchulz::kC * to_float(row[i]);
      simd::map(
          row, n, [](simd::Floats a, simd::Floats b) { return NewtonSchulz::kB * a + NewtonSchulz::kC * b; }, gram_row,
          square_row);
      row[i] = from_float<Scalar>(diagonal + NewtonSchulz::kA);
    }
  });
}

template <typename Scalar>
void orthogonalize_by(const CpuContext& ctx, float* matrix, const MatrixSize& size, void* scratch) {
  const NewtonSchulzScratch<Scalar> s(size, 1, 0, scratch);
  const double norm = std::sqrt(sum_of_squares(ctx, matrix, size.elements()));
  copy_scaled(ctx, s.x, static_cast<const float*>(matrix), size,
              static_cast<float>(1 / std::max(norm, NewtonSchulz::kMinNorm)), size.tall());
  const auto multiply = [&](Scalar* out, const Scalar* in, const Scalar* weight, const LinearShape& shape) {
    linear_forward(ctx, out, in, weight, static_cast<const Scalar*>(nullptr), shape);
  };
  const Scalar* const x = newton_schulz(s, size, multiply, [&](Scalar* polynomial, const Scalar* gram) {
    polynomial_of(ctx, polynomial, gram, static_cast<size_t>(size.shorter()));
  });
  copy_scaled(ctx, matrix, x, {size.shorter(), size.longer()}, size.update_scale(), size.tall());
}

}  // namespace

void orthogonalize(const CpuContext& ctx, std::span<float* const> matrices, const MatrixSize& size,
                   MuonProducts products, void* scratch) {
  for (float* const matrix : matrices)
    products == MuonProducts::bf16 ? orthogonalize_by<Bf16>(ctx, matrix, size, scratch)
                                   : orthogonalize_by<float>(ctx, matrix, size, scratch);
}

void muon_update(const CpuContext& ctx, float* params, Bf16* params_bf16, const float* update, size_t n,
                 const AdamWStep* step) {
  if (step->halted) return;
  const float keep = step->factors.keep, rate = step->learning_rate;
  parallel_ranges(ctx, n, 16, n, [=](Range range) {
#pragma omp simd
    for (size_t i = range.begin; i < range.end; ++i) {
      params[i] = params[i] * keep - rate * update[i];
      if (params_bf16) params_bf16[i] = to_bf16(params[i]);
    }
  });
}

void set_zero(const CpuContext&, float* x, size_t n) { std::memset(x, 0, n * sizeof(float)); }

}  // namespace glint
