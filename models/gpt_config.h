// The shape of a GPT and its dropout probabilities. Checked once, by validate().
#pragma once

#include <cstdint>

#include "kernels/gelu.h"

namespace glint {

struct GptConfig {
  int vocab = 0;     // V
  int context = 64;  // longest sequence, T
  int layers = 4;
  int heads = 4;      // query heads, NH
  int kv_heads = 4;   // key/value heads, NKV; divides heads
  int embd = 128;     // channels, C; a multiple of heads
  bool bias = false;  // biases in linear layers and layer norms
  Gelu activation = Gelu::erf;
  float embd_dropout = 0.0f, attn_dropout = 0.0f, resid_dropout = 0.0f;

  int head_size() const { return embd / heads; }
  int qkv_width() const { return (heads + 2 * kv_heads) * head_size(); }
  int hidden() const { return 4 * embd; }
  void validate() const;  // throws UserError naming the wrong `field`
};

}  // namespace glint
