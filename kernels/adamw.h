// AdamW (I. Loshchilov, F. Hutter, 2019), decoupled weight decay, over flat buffers in one call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

struct AdamW {
  float beta1 = 0.9f, beta2 = 0.99f, eps = 1e-8f, weight_decay = 0.1f;
};

// Values that change every step; passed by pointer so that a recorded step can be replayed.
struct AdamWStep {
  float learning_rate = 0.0f;
  float gradient_scale = 1.0f;  // the clip factor, applied to the gradient as it is read
  uint64_t t = 1;               // 1 at the first step, for the bias correction
  uint64_t halted = 0;          // not 0: the gradient is not finite, nothing is updated
};

// params, m, v (n) are updated in place from gradients (n). The first n_decayed elements get weight decay. params_bf16
// (n) gets the parameters rounded, unless null.
void adamw(const CpuContext& ctx, float* params, float* m, float* v, const float* gradients, size_t n, size_t n_decayed,
           const AdamW& settings, const AdamWStep* step, Bf16* params_bf16 = nullptr);

// The same on an NVIDIA GPU, `step` in device memory.
void adamw(const CudaContext& ctx, float* params, float* m, float* v, const float* gradients, size_t n,
           size_t n_decayed, const AdamW& settings, const AdamWStep* step, Bf16* params_bf16 = nullptr);

}  // namespace glint
