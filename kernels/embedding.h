// Token plus position embedding, or the token's alone, with dropout on the sum (row layout of kernels/dropout.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/dropout.h"
#include "kernels/matmul.h"

namespace glint {

struct EmbeddingShape {
  int B, T, C;
  int V;                                // rows of wte
  const int* first_position = nullptr;  // position of token 0 of every sequence, by pointer; null: 0
};

// out (B, T, C) = dropout(wte[token] + wpe[position]), without wpe where it is null; tokens (B, T) in [0, V), checked
// by the caller. Scalar: float, Bf16; gradients of the tables are fp32. CUDA: first_position also points to device
// memory.
template <typename Scalar>
void embedding_forward(const CpuContext& ctx, Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout);
template <typename Scalar>
void embedding_forward(const CudaContext& ctx, Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout);

// Scratch of backward, in 32-bit words.
size_t embedding_backward_scratch(const CpuContext& ctx, const EmbeddingShape& shape);
size_t embedding_backward_scratch(const CudaContext& ctx, const EmbeddingShape& shape);

// dwte (V, C) is set (every row) or added to as write_dwte says; likewise the first T rows of dwpe, unless null.
// Repeated tokens are summed in the order of their positions. first_position must be null.
template <typename Scalar>
void embedding_backward(const CpuContext& ctx, float* dwte, float* dwpe, const Scalar* dout, const int32_t* tokens,
                        void* scratch, const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte,
                        Write write_dwpe);
template <typename Scalar>
void embedding_backward(const CudaContext& ctx, float* dwte, float* dwpe, const Scalar* dout, const int32_t* tokens,
                        void* scratch, const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte,
                        Write write_dwpe);

}  // namespace glint
