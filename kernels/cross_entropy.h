// Softmax and cross-entropy fused; probabilities are not stored. Scalar: float, Bf16; losses are fp32.
#pragma once

#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

struct CrossEntropyShape {
  int rows;  // B*T
  int V;
  int columns = V;  // of logits; those from V on are padding: not in the softmax, and their gradient is 0
};

// logits (rows, columns); losses (rows) = -log softmax(logits)[target] in nats, by a max-shifted sum. A target outside
// [0, V) throws on the CPU; on a GPU its loss is NaN.
template <typename Scalar>
void cross_entropy_forward(const CpuContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape);
template <typename Scalar>
void cross_entropy_forward(const CudaContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape);

// The same, and the gradient in place of the logits: logits := (softmax(logits) - onehot(target)) * gradient_scale.
template <typename Scalar>
void cross_entropy_forward_backward(const CpuContext& ctx, float* losses, Scalar* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape);
template <typename Scalar>
void cross_entropy_forward_backward(const CudaContext& ctx, float* losses, Scalar* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape);

}  // namespace glint
