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

// What an update multiplies with, in its order.
struct AdamWFactors {
  float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float keep;             // 1 - learning rate * weight decay, where there is decay
  float step_size;        // learning rate / (1 - beta1^t)
  float root_correction;  // 1 / sqrt(1 - beta2^t)
  float eps;
};

// Values that change every step; passed by pointer so that a recorded step can be replayed.
struct AdamWStep {
  float learning_rate = 0.0f;
  float gradient_scale = 1.0f;  // the clip factor, applied to the gradient as it is read
  uint64_t t = 1;               // 1 at the first step, for the bias correction
  uint64_t halted = 0;          // not 0: the gradient is not finite, nothing is updated
  uint64_t seed = 0;            // of the draws that round moments
  AdamWFactors factors = {};    // adamw_factors() (kernels/adamw_update.h): once a step, since they need doubles
};

// n neighbouring parameters. Moment: float, or Bf16, which is rounded as kernels/stochastic_round.h says.
template <typename Moment>
struct AdamWArrays {
  float* params;
  Moment *m, *v;
  const float* gradients;
  Bf16* params_bf16;    // gets the parameters rounded to nearest, unless null
  size_t n, n_decayed;  // the first n_decayed get weight decay
  size_t first = 0;     // number of the first one in the whole model, which numbers the draws; a multiple of 4
};

// Updates params, m and v in place. The update uses the moments before they are rounded.
template <typename Moment>
void adamw(const CpuContext& ctx, const AdamWArrays<Moment>& arrays, const AdamWStep* step);

// The same on an NVIDIA GPU, `step` in device memory.
template <typename Moment>
void adamw(const CudaContext& ctx, const AdamWArrays<Moment>& arrays, const AdamWStep* step);

}  // namespace glint
