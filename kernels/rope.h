// Rotary position embedding (J. Su et al., RoFormer, 2021): pair i of a head's channels turns by position * theta^(-2 i
// / HS). As in Hugging Face's Llama the pair is channels i and i + HS / 2, and angles are fp32.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/philox.h"

namespace glint {

struct RopeShape {
  int B, T;
  int heads;   // the first of a token that turn: queries and keys
  int stride;  // elements of a token
  int HS;      // even
  float theta = 10000.0f;
  const int* first_position = nullptr;  // position of token 0 of every sequence, by pointer; null: 0
};

enum class Turn { forward, back };

// Turns heads (B, T, heads, HS) of packed ones in place; back is the inverse, and the gradient. Scalar: float, Bf16.
// CUDA: first_position also points to device memory.
template <typename Scalar>
void rope(const CpuContext& ctx, Scalar* packed, const RopeShape& shape, Turn turn);
template <typename Scalar>
void rope(const CudaContext& ctx, Scalar* packed, const RopeShape& shape, Turn turn);

// theta^(-2 i / HS), shared by the backends.
GLINT_HOST_DEVICE inline float rope_frequency(int i, const RopeShape& shape) {
  return 1.0f / powf(shape.theta, static_cast<float>(2 * i) / static_cast<float>(shape.HS));
}

}  // namespace glint
