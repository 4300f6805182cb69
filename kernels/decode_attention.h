// Attention of one new token of each sequence against all tokens before it, which a KV cache holds.
#pragma once

#include <cstddef>

#include "kernels/attention.h"
#include "kernels/context.h"

namespace glint {

template <typename Scalar>
struct DecodeAttention {
  HeadView<Scalar> out;            // (B, 1, NH, HS)
  HeadView<const Scalar> q, k, v;  // of the new token: (B, 1, NH, HS), (B, 1, NKV, HS) twice
  Scalar* cache = nullptr;         // (B, 2, capacity, NKV, HS): keys, then values; gets k and v
  const int* position = nullptr;   // of the new token in every sequence, below capacity; in the device's memory
  float* scratch = nullptr;        // decode_attention_scratch() floats
  AttentionShape shape;            // T = 1; S is not used
  int capacity = 0;                // positions in the cache

  int64_t row() const { return static_cast<int64_t>(shape.NKV) * shape.HS; }  // elements of a position's keys
};

// Scalar: float, Bf16. The result of a sequence does not depend on how many there are.
template <typename Scalar>
void decode_attention(const CpuContext& ctx, const DecodeAttention<Scalar>& a);
inline size_t decode_attention_scratch(const CpuContext&, const AttentionShape&, int) { return 0; }  // in floats

// Views as attention_forward() wants them; HS up to 128. A CUDA graph can capture it: its replays read *position.
template <typename Scalar>
void decode_attention(const CudaContext& ctx, const DecodeAttention<Scalar>& a);
size_t decode_attention_scratch(const CudaContext& ctx, const AttentionShape& shape, int capacity);  // in floats

// *position += 1
void advance_position(const CpuContext& ctx, int* position);
void advance_position(const CudaContext& ctx, int* position);

}  // namespace glint
