// Muon (K. Jordan and others, 2024, kellerjordan.github.io/posts/muon): the momentum of a weight matrix, made nearly
// orthogonal, is its update. As torch.optim.Muon with Nesterov's momentum and adjust_lr_fn "match_rms_adamw" (J. Liu
// et al., Muon is Scalable for LLM Training, 2025): updates are as large as AdamW's, so that its learning rate and
// weight decay serve both, and a matrix and its transpose have the same update.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

#include "kernels/adamw.h"
#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/philox.h"

namespace glint {

struct Muon {
  float momentum = 0.95f;
};

// Number format of the matrix products. A GPU's are bf16 in any case, as torch.optim.Muon's.
enum class MuonProducts { fp32, bf16 };

struct MatrixSize {
  int rows, columns;

  GLINT_HOST_DEVICE bool tall() const { return rows > columns; }
  GLINT_HOST_DEVICE size_t elements() const { return static_cast<size_t>(rows) * static_cast<size_t>(columns); }
  int shorter() const { return tall() ? columns : rows; }
  int longer() const { return tall() ? rows : columns; }
  bool operator==(const MatrixSize&) const = default;
  float update_scale() const { return 0.2f * std::sqrt(static_cast<float>(longer())); }
};

// m = momentum * m + (1 - momentum) * g, for g the clipped gradient; gradients = g + momentum * (m - g), what will be
// made orthogonal. gradients, m (n). If `step` is halted nothing changes.
void muon_momentum(const CpuContext& ctx, float* gradients, float* m, size_t n, const Muon& settings,
                   const AdamWStep* step);

// Each of `matrices` (rows, columns) = update_scale() * U V^T, nearly, where U S V^T is its singular value
// decomposition: five steps of Newton-Schulz bring each singular value to between about 0.7 and 1.2. At most
// matrices_at_once().
void orthogonalize(const CpuContext& ctx, std::span<float* const> matrices, const MatrixSize& size,
                   MuonProducts products, void* scratch);
size_t orthogonalize_scratch(const CpuContext& ctx, const MatrixSize& size, int count, MuonProducts products);  // bytes
inline int matrices_at_once(const CpuContext&, const MatrixSize&) { return 1; }
double orthogonalize_flops(const MatrixSize& size);  // of one

// params -= learning rate * (update + weight decay * params); params, update (n). params_bf16 (n) gets them rounded,
// unless null. If `step` is halted nothing changes.
void muon_update(const CpuContext& ctx, float* params, Bf16* params_bf16, const float* update, size_t n,
                 const AdamWStep* step);

// x (n) = 0
void set_zero(const CpuContext& ctx, float* x, size_t n);

// The same on an NVIDIA GPU, `step` in device memory.
void muon_momentum(const CudaContext& ctx, float* gradients, float* m, size_t n, const Muon& settings,
                   const AdamWStep* step);
void orthogonalize(const CudaContext& ctx, std::span<float* const> matrices, const MatrixSize& size,
                   MuonProducts products, void* scratch);
size_t orthogonalize_scratch(const CudaContext& ctx, const MatrixSize& size, int count, MuonProducts products);
inline constexpr int kMostMatrices = 16;
int matrices_at_once(const CudaContext& ctx, const MatrixSize& size);  // from 1 to kMostMatrices: fills the GPU
void muon_update(const CudaContext& ctx, float* params, Bf16* params_bf16, const float* update, size_t n,
                 const AdamWStep* step);
void set_zero(const CudaContext& ctx, float* x, size_t n);

}  // namespace glint
