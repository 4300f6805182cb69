#include "kernels/muon.h"

#include "kernels/cuda/pack.cuh"
#include "kernels/newton_schulz.h"

namespace glint {
namespace {

constexpr int kCount = 4;

__global__ void __launch_bounds__(kFlatThreads)
    momentum_kernel(float* gradients, float* m, size_t n, float momentum, const AdamWStep* step) {
  if (step->halted) return;
  const float scale = step->gradient_scale;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto g = load_pack<kCount>(gradients + first, valid), old = load_pack<kCount>(m + first, valid);
    float update[kCount], now[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float gradient = g[i] * scale;
      now[i] = old[i] + (1 - momentum) * (gradient - old[i]);
      update[i] = gradient + momentum * (now[i] - gradient);
    }
    store_pack(m + first, now, valid);
    store_pack(gradients + first, update, valid);
  });
}

__global__ void __launch_bounds__(kFlatThreads)
    update_kernel(float* params, Bf16* params_bf16, const float* update, size_t n, const AdamWStep* step) {
  if (step->halted) return;
  const float keep = step->factors.keep, rate = step->learning_rate;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto old = load_pack<kCount>(params + first, valid), direction = load_pack<kCount>(update + first, valid);
    float now[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) now[i] = old[i] * keep - rate * direction[i];
    store_pack(params + first, now, valid);
    if (params_bf16) store_pack(params_bf16 + first, now, valid);
  });
}

__global__ void __launch_bounds__(kFlatThreads) zero_kernel(float* x, size_t n) {
  const float zeros[kCount] = {};
  for_each_pack<kCount>(n, [&](size_t first, int valid) { store_pack(x + first, zeros, valid); });
}

// Index in the transpose, (columns, rows), of element i of a (rows, columns) array.
__device__ inline size_t transposed_index(size_t i, int rows, int columns) {
  const auto width = static_cast<size_t>(columns);
  return i % width * static_cast<size_t>(rows) + i / width;
}

// x (r, c) = the matrix over its norm, transposed if tall.
__global__ void __launch_bounds__(kFlatThreads)
    normalize_kernel(Bf16* x, const float* matrix, MatrixSize size, const double* squares) {
  const auto factor = static_cast<float>(1 / fmax(sqrt(*squares), NewtonSchulz::kMinNorm));
  for_each_pack<1>(size.elements(), [&](size_t i, int) {
    x[i] = to_bf16(factor * matrix[size.tall() ? transposed_index(i, size.columns, size.rows) : i]);
  });
}

// matrix = factor * x (r, c), transposed back if tall.
__global__ void __launch_bounds__(kFlatThreads)
    scale_kernel(float* matrix, const Bf16* x, MatrixSize size, float factor) {
  for_each_pack<1>(size.elements(), [&](size_t i, int) {
    matrix[i] = factor * to_float(x[size.tall() ? transposed_index(i, size.rows, size.columns) : i]);
  });
}

// polynomial (r, r): A^2 becomes p(A), with A = gram.
__global__ void __launch_bounds__(kFlatThreads) polynomial_kernel(Bf16* polynomial, const Bf16* gram, int r) {
  const auto width = static_cast<size_t>(r);
  for_each_pack<1>(width * width, [&](size_t i, int) {
    const float value = NewtonSchulz::kB * to_float(gram[i]) + NewtonSchulz::kC * to_float(polynomial[i]);
    polynomial[i] = to_bf16(i / width == i % width ? value + NewtonSchulz::kA : value);
  });
}

}  // namespace

void muon_momentum(const CudaContext& ctx, float* gradients, float* m, size_t n, const Muon& settings,
                   const AdamWStep* step) {
  const auto what = [&] { return str_cat("muon_momentum of ", n, " parameters"); };
  launch(ctx, flat_launch(n, kCount), what, momentum_kernel, gradients, m, n, settings.momentum, step);
}

size_t orthogonalize_scratch(const CudaContext& ctx, const MatrixSize& size, MuonProducts) {
  return NewtonSchulzScratch<Bf16>(ctx, size, nullptr).bytes;
}

void orthogonalize(const CudaContext& ctx, float* matrix, const MatrixSize& size, MuonProducts, void* scratch) {
  const NewtonSchulzScratch<Bf16> s(ctx, size, scratch);
  const auto what = [&] { return str_cat("orthogonalize of ", size.rows, " x ", size.columns); };
  const Launch all = flat_launch(size.elements(), 1);
  sum_of_squares(ctx, s.squares, matrix, size.elements(), s.reduce);
  launch(ctx, all, what, normalize_kernel, s.x, matrix, size, s.squares);
  const Bf16* const x = newton_schulz(ctx, s, size, [&](Bf16* polynomial, const Bf16* gram, int r) {
    const auto n = static_cast<size_t>(r) * static_cast<size_t>(r);
    launch(ctx, flat_launch(n, 1), what, polynomial_kernel, polynomial, gram, r);
  });
  launch(ctx, all, what, scale_kernel, matrix, x, size, size.update_scale());
}

void muon_update(const CudaContext& ctx, float* params, Bf16* params_bf16, const float* update, size_t n,
                 const AdamWStep* step) {
  const auto what = [&] { return str_cat("muon_update of ", n, " parameters"); };
  launch(ctx, flat_launch(n, kCount), what, update_kernel, params, params_bf16, update, n, step);
}

void set_zero(const CudaContext& ctx, float* x, size_t n) {
  const auto what = [&] { return str_cat("set_zero of ", n, " elements"); };
  launch(ctx, flat_launch(n, kCount), what, zero_kernel, x, n);
}

}  // namespace glint
