// The shape of a GPT, GPT-2's or Llama's, and its dropout probabilities. Checked once, by validate().
#pragma once

#include <cstdint>

#include "kernels/gelu.h"

namespace glint {

enum class ModelKind { gpt2, llama };

struct GptConfig {
  ModelKind kind = ModelKind::gpt2;
  int vocab = 0;           // V
  int vocab_multiple = 0;  // wte is padded to a multiple of so many rows, which no token has; 0: see vocab_padding()
  int context = 64;        // longest sequence, T
  int layers = 4;
  int heads = 4;      // query heads, NH
  int kv_heads = 4;   // key/value heads, NKV; divides heads
  int embd = 128;     // channels, C; a multiple of heads
  bool bias = false;  // biases in linear layers and layer norms
  bool tied = true;   // the head is the token embedding
  Gelu activation = Gelu::erf;
  float norm_epsilon = 1e-5f;   // of layer norm, RMSNorm and QK norm
  float rope_theta = 10000.0f;  // Llama's, of rotary positions
  bool qk_norm = false;         // Llama's: RMSNorm of queries and keys
  float embd_dropout = 0.0f, attn_dropout = 0.0f, resid_dropout = 0.0f;

  int head_size() const { return embd / heads; }
  int qkv_width() const { return (heads + 2 * kv_heads) * head_size(); }
  int hidden() const {  // channels of the feed-forward layer: Llama's 8/3 C, to a multiple of 64
    return kind == ModelKind::gpt2 ? 4 * embd : (8 * embd / 3 + 63) / 64 * 64;
  }
  // A GPU's products want rows of logits that begin at 16 bytes, or 128: with 50257 columns a step of a Llama of 124M
  // takes twice as long on an H200 (28 November 2026) as with 50304.
  int vocab_padding() const {
    const int multiple = vocab_multiple > 0 ? vocab_multiple : vocab >= 1024 ? 64 : 8;
    return (multiple - vocab % multiple) % multiple;
  }
  void validate() const;  // throws UserError naming the wrong `field`
};

}  // namespace glint
