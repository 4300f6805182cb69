// The ops of GPT-2 and Llama: forward and backward side by side in src/ops/<name>.cpp. Each records one node, whose two
// closures make one kernel call each (feed_forward: two nodes; linear_cross_entropy: several calls). Shapes: B
// sequences, T tokens, C channels, V vocabulary, H hidden channels, NH query heads, NKV key/value heads, HS channels
// per head.
#pragma once

#include <type_traits>

#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/matmul.h"
#include "src/graph.h"

namespace glint {

// flash_sm80: on a GPU the kernels for sm_80, also where there are faster ones.
enum class AttentionKind { flash, flash_sm80, reference };
// The context that runs attention of this kind.
template <typename AnyContext>
AnyContext with_kernels(AnyContext ctx, [[maybe_unused]] AttentionKind kind) {
  if constexpr (std::is_same_v<AnyContext, CudaContext>) {
    if (kind == AttentionKind::flash_sm80) ctx.attention = CudaAttention::sm80;
  }
  return ctx;
}

struct AttentionHeads {
  int query;      // NH
  int key_value;  // NKV, divides NH
};

// A layer norm's weight (C), bias (C) or none, and epsilon; or RMSNorm's.
struct Norm {
  Tensor weight, bias;
  float eps = 1e-5f;
  bool rms = false;
};

// (B, T) tokens -> (B, T, C): wte (V, C) by token, plus wpe (context, C) by position, unless empty, then dropout.
// first_position: the position of column 0, by pointer into the device's memory (null: 0; must be null in training).
Tensor embedding(Graph& g, Tensor tokens, Tensor wte, Tensor wpe, float p, const int* first_position = nullptr);

// (.., C) -> (.., C).
Tensor layernorm(Graph& g, Tensor x, const Norm& norm);

// (.., in) -> (.., out); weight as `layout` says, bias (out) or none.
Tensor linear(Graph& g, Tensor x, Tensor weight, Tensor bias, WeightLayout layout = WeightLayout::in_out);

// (.., C) -> (.., C): linear, GELU, linear; weights (in, out), biases or none.
struct Linear {
  Tensor weight, bias;
};
Tensor feed_forward(Graph& g, Tensor x, Linear in, Linear out, Gelu kind);

// (.., 2 H) packed [gate | up] -> (.., H): silu(gate) * up. The gradient overwrites the packed values, so that they
// must have no other users.
Tensor swiglu(Graph& g, Tensor packed);

// Rotary positions of queries and keys in (B, T, (NH + 2 NKV) * HS) packed heads, in place: for the attention that is
// recorded next, which alone reads them. first_position: as embedding's.
void rope(Graph& g, Tensor qkv, AttentionHeads heads, float theta, const int* first_position = nullptr);

// QK norm: RMSNorm of each query and key of the same heads, without weights, in place; before rope or after it.
void qk_norm(Graph& g, Tensor qkv, AttentionHeads heads, float eps);

// (B, T, (NH + 2 NKV) * HS) packed [queries | keys | values] -> (B, T, NH * HS), causal, dropout on P.
Tensor attention(Graph& g, Tensor qkv, AttentionHeads heads, float p, AttentionKind kind);
Tensor reference_attention(Graph& g, Tensor qkv, AttentionHeads heads, float p);

// Where new tokens continue the sequences of a KV cache: a token of each sequence, or several of one.
struct CachePlace {
  const int* first_on_device;  // position of the first new token, the same for all sequences; in the device's memory
  const int* first;            // the same in the host's; null: a token of each sequence
  const int* sequence;         // whose tokens they are, in the host's memory; null: a token of each
};
// Attention against all tokens so far: K and V of `qkv` (B, 1, ..), or (1, T, ..) of one sequence, go into cache (B, 2,
// capacity, NKV * HS). A CUDA graph can capture the first form. Evaluation only.
Tensor cached_attention(Graph& g, Tensor qkv, Tensor cache, AttentionHeads heads, const CachePlace& place);

// x + dropout(y). The gradient of x shares the buffer of the sum's gradient, so x must not have later users.
Tensor residual(Graph& g, Tensor x, Tensor y, float p);

// residual(x, y, p) and its norm, in one pass. The sum must have other, later users (the next residual).
struct NormedSum {
  Tensor sum, normed;
};
NormedSum residual_layernorm(Graph& g, Tensor x, Tensor y, float p, const Norm& norm);

// (B, T, columns) logits, (B, T) targets -> (B*T) losses in nats over the first V columns; the rest is padding. In
// training the logits are replaced by their gradient times gradient_scale.
Tensor cross_entropy(Graph& g, Tensor logits, Tensor targets, float gradient_scale, int V);

// cross_entropy(linear(x, weight)) for `chunk` rows of x (.., C) at a time, so that logits never take more memory than
// chunk rows; weight (columns, C). In training forward also computes the gradients of x and weight.
Tensor linear_cross_entropy(Graph& g, Tensor x, Tensor weight, Tensor targets, float gradient_scale, int V, int chunk);

}  // namespace glint
