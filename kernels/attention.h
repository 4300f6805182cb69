// Scaled dot-product attention with dropout after the softmax, forward and backward.
//   S = scale * Q K^T (masked if causal), P = softmax(S), O = dropout(P) V
// as FlashAttention-2 (T. Dao, 2023, Algorithms 1 and 2): tiled, online softmax, O(T) memory per head. Row sum and
// log-sum-exp are of the undropped P; the mask (kernels/dropout.h) is drawn again in backward from (seed, offset).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint {

struct AttentionShape {
  int B = 1;    // sequences
  int T = 1;    // queries per sequence, >= 1
  int S = 1;    // keys per sequence, >= T; causal: query i sees keys j <= i + (S - T), so that the last query sees all
  int NH = 1;   // query heads
  int NKV = 1;  // key/value heads, NH a multiple of NKV; query head h reads head h / (NH / NKV)
  int HS = 64;  // channels per head: 8 .. 256 in steps of 8
  bool causal = true;
  float scale = 1.0f;  // usually 1 / sqrt(HS)
};

// A (B, T, heads, HS) array by strides in elements; the HS channels of a head lie side by side.
template <typename Scalar>
struct HeadView {
  Scalar* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;

  GLINT_HOST_DEVICE Scalar* at(int64_t b, int64_t t, int64_t h) const {
    return data + b * batch_stride + t * token_stride + h * head_stride;
  }
};

// out: (B, T, NH, HS) view; lse: (B, NH, T), natural log-sum-exp of each row of S, kept for backward (null: not
// wanted). dropout.on(): the mask of global sequence rng->first_sequence + b, offset rng->offset + dropout.site; needs
// S == T.
void attention_forward(const CpuContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                       HeadView<const float> k, HeadView<const float> v, const AttentionShape& shape,
                       const Dropout& dropout);

// Scratch that backward wants, in floats.
size_t attention_backward_scratch(const CpuContext& ctx, const AttentionShape& shape);

// Writes (does not add to) dq, dk, dv from out, lse of forward and dout; they must not overlap q, k, v, out, dout.
void attention_backward(const CpuContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                        HeadView<const float> dout, HeadView<const float> out, const float* lse,
                        HeadView<const float> q, HeadView<const float> k, HeadView<const float> v, float* scratch,
                        const AttentionShape& shape, const Dropout& dropout);

// The same in bf16 on the CPU: in fp32, rounded where a bf16 array is written. Scratch as above.
void attention_forward(const CpuContext& ctx, HeadView<Bf16> out, float* lse, HeadView<const Bf16> q, HeadView<const Bf16> k,
                       HeadView<const Bf16> v, const AttentionShape& shape, const Dropout& dropout);
void attention_backward(const CpuContext& ctx, HeadView<Bf16> dq, HeadView<Bf16> dk, HeadView<Bf16> dv, HeadView<const Bf16> dout,
                        HeadView<const Bf16> out, const float* lse, HeadView<const Bf16> q, HeadView<const Bf16> k,
                        HeadView<const Bf16> v, float* scratch, const AttentionShape& shape, const Dropout& dropout);

// The same on an NVIDIA GPU (sm_80 and later), all pointers to its memory; in builds with CUDA only. HS up to 128. Views
// of bf16 begin at, and step by, multiples of 16 bytes. bf16 products accumulate in fp32; lse and scratch are fp32.
// Backward adds in a fixed order: its results are bitwise repeatable. Nothing is allocated, nothing waited for: the calls
// can be captured in a CUDA graph, whose replays read rng anew. rng is null where dropout is off.
void attention_forward(const CudaContext& ctx, HeadView<Bf16> out, float* lse, HeadView<const Bf16> q,
                       HeadView<const Bf16> k, HeadView<const Bf16> v, const AttentionShape& shape,
                       const Dropout& dropout);
void attention_forward(const CudaContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                       HeadView<const float> k, HeadView<const float> v, const AttentionShape& shape,
                       const Dropout& dropout);
size_t attention_backward_scratch(const CudaContext& ctx, const AttentionShape& shape);
void attention_backward(const CudaContext& ctx, HeadView<Bf16> dq, HeadView<Bf16> dk, HeadView<Bf16> dv,
                        HeadView<const Bf16> dout, HeadView<const Bf16> out, const float* lse, HeadView<const Bf16> q,
                        HeadView<const Bf16> k, HeadView<const Bf16> v, float* scratch, const AttentionShape& shape,
                        const Dropout& dropout);
void attention_backward(const CudaContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                        HeadView<const float> dout, HeadView<const float> out, const float* lse,
                        HeadView<const float> q, HeadView<const float> k, HeadView<const float> v, float* scratch,
                        const AttentionShape& shape, const Dropout& dropout);

// The same mathematics written plainly, with P materialised in scratch (T x S floats per thread, twice): the oracle.
size_t reference_attention_scratch(const CpuContext& ctx, const AttentionShape& shape);
void reference_attention_forward(const CpuContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                                 HeadView<const float> k, HeadView<const float> v, float* scratch,
                                 const AttentionShape& shape, const Dropout& dropout);
void reference_attention_backward(const CpuContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                                  HeadView<const float> dout, HeadView<const float> out, const float* lse,
                                  HeadView<const float> q, HeadView<const float> k, HeadView<const float> v,
                                  float* scratch, const AttentionShape& shape, const Dropout& dropout);

}  // namespace glint
