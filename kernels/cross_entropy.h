// Softmax and cross-entropy fused; probabilities are never kept.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace glint {

struct CrossEntropyShape {
  int rows;  // B*T
  int V;
};

// losses (rows) = -log softmax(logits)[target] in nats, by a max-shifted sum.
void cross_entropy_forward(const CpuContext& ctx, float* losses, const float* logits, const int32_t* targets,
                           const CrossEntropyShape& shape);

// The same, and the gradient in place of the logits: logits := (softmax(logits) - onehot(target)) * gradient_scale.
void cross_entropy_forward_backward(const CpuContext& ctx, float* losses, float* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape);

// The same on an NVIDIA GPU; Scalar: float or Bf16. Targets must be in [0, V): they are not looked at.
template <typename Scalar>
void cross_entropy_forward(const CudaContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape);
template <typename Scalar>
void cross_entropy_forward_backward(const CudaContext& ctx, float* losses, Scalar* logits, const int32_t* targets, float gradient_scale,
                                    const CrossEntropyShape& shape);

}  // namespace glint
