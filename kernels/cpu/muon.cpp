#include "kernels/muon.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/newton_schulz.h"

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

size_t orthogonalize_scratch(const CpuContext& ctx, const MatrixSize& size) {
  return NewtonSchulzScratch<float>(ctx, size, nullptr).bytes;
}

double orthogonalize_flops(const MatrixSize& size) {
  const double r = size.shorter(), c = size.longer();
  return NewtonSchulz::kSteps * 2 * (2 * r * r * c + r * r * r);
}

namespace {

// out = factor * x (rows, columns), or (columns, rows) = its transpose, by blocks that the cache holds.
void copy_scaled(const CpuContext& ctx, float* out, const float* x, const MatrixSize& size, float factor,
                 bool transposed) {
  const auto rows = static_cast<size_t>(size.rows), columns = static_cast<size_t>(size.columns);
  constexpr size_t kBlock = 32;
  parallel_ranges(ctx, rows, kBlock, rows * columns, [=](Range range) {
    if (!transposed) {
      for (size_t i = range.begin * columns; i < range.end * columns; ++i) out[i] = factor * x[i];
      return;
    }
    for (size_t begin = 0; begin < columns; begin += kBlock)
      for (size_t i = range.begin; i < range.end; ++i)
        for (size_t j = begin; j < std::min(begin + kBlock, columns); ++j)
          out[j * rows + i] = factor * x[i * columns + j];
  });
}

// polynomial (r, r): A^2 becomes p(A), with A = gram.
void polynomial_of(const CpuContext& ctx, float* polynomial, const float* gram, int r) {
  const auto n = static_cast<size_t>(r);
  parallel_ranges(ctx, n, 1, n * n, [=](Range range) {
    for (size_t i = range.begin; i < range.end; ++i) {
      float* const row = polynomial + i * n;
      for (size_t j = 0; j < n; ++j) row[j] = NewtonSchulz::kB * gram[i * n + j] + NewtonSchulz::kC * row[j];
      row[i] += NewtonSchulz::kA;
    }
  });
}

}  // namespace

void orthogonalize(const CpuContext& ctx, float* matrix, const MatrixSize& size, void* scratch) {
  const NewtonSchulzScratch<float> s(ctx, size, scratch);
  const double norm = std::sqrt(sum_of_squares(ctx, matrix, size.elements()));
  copy_scaled(ctx, s.x, matrix, size, static_cast<float>(1 / std::max(norm, NewtonSchulz::kMinNorm)), size.tall());
  const float* const x = newton_schulz(
      ctx, s, size, [&](float* polynomial, const float* gram, int r) { polynomial_of(ctx, polynomial, gram, r); });
  copy_scaled(ctx, matrix, x, {size.shorter(), size.longer()}, size.update_scale(), size.tall());
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
