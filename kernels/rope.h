// Rotary position embedding (J. Su et al., RoFormer, 2021): channels i and i + HS / 2 of a head, a pair, are rotated by
// the angle position * theta^(-2 i / HS). Pairs and fp32 angles are those of Hugging Face's Llama.
#pragma once

#include <cmath>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/philox.h"

namespace glint {

struct RopeShape {
  int B, T;
  int heads;   // NH + NKV: the first heads of a token, queries and keys, are rotated
  int stride;  // elements of a token
  int HS;      // even, up to 256
  float theta = 10000.0f;
  const int* first_position = nullptr;  // position of token 0 of every sequence, by pointer; null: 0
};

// In place: the first `heads` heads of each token of packed (B, T, stride). Scalar: float, Bf16. CUDA: first_position
// also points to device memory.
template <typename Scalar>
void rope_forward(const CpuContext& ctx, Scalar* packed, const RopeShape& shape);
template <typename Scalar>
void rope_forward(const CudaContext& ctx, Scalar* packed, const RopeShape& shape);

// The same by the opposite angles, which is the inverse: the gradient of the rotated heads becomes that of the heads.
template <typename Scalar>
void rope_backward(const CpuContext& ctx, Scalar* dpacked, const RopeShape& shape);
template <typename Scalar>
void rope_backward(const CudaContext& ctx, Scalar* dpacked, const RopeShape& shape);

// theta^(-2 i / HS), shared by the backends.
GLINT_HOST_DEVICE inline float rope_frequency(int i, const RopeShape& shape) {
  return 1.0f / powf(shape.theta, static_cast<float>(2 * i) / static_cast<float>(shape.HS));
}

}  // namespace glint
