#include "models/gpt_config.h"

#include <cmath>

#include "kernels/check.h"

namespace glint {

void GptConfig::validate() const {
  GLINT_REQUIRE(layers >= 1, "`layers` ", layers, ": a model has at least 1 layer");
  GLINT_REQUIRE(heads >= 1, "`heads` ", heads, ": attention has at least 1 head");
  GLINT_REQUIRE(embd >= 8, "`embd` ", embd, ": a model has at least 8 channels");
  GLINT_REQUIRE(context >= 1, "`context` ", context, ": a sequence has at least 1 token");
  GLINT_REQUIRE(vocab >= 1, "the vocabulary is empty (", vocab, ")");
  GLINT_REQUIRE(embd % heads == 0, "`embd` ", embd, " is not a multiple of `heads` ", heads, "; try `embd` ",
                (int64_t{embd} / heads + 1) * heads);
  GLINT_REQUIRE(head_size() % 8 == 0 && head_size() >= 8 && head_size() <= 256, "`embd` ", embd, " / `heads` ", heads,
                " = ", head_size(), " channels per head; attention takes 8 to 256 in steps of 8");
  GLINT_REQUIRE(kv_heads >= 1 && heads % kv_heads == 0, "`kv_heads` ", kv_heads, " does not divide `heads` ", heads);
  GLINT_REQUIRE(vocab_multiple >= 0 && vocab_multiple <= 1 << 20, "`vocab_multiple` ", vocab_multiple,
                ": give a number from 1 (no padding) to 1048576, or leave it out");
  GLINT_REQUIRE(norm_epsilon > 0.0f && norm_epsilon < 1.0f, "`norm_epsilon` ", norm_epsilon, " is not in (0, 1)");
  if (kind == ModelKind::llama) {
    GLINT_REQUIRE(!bias, "`bias` is of `model` gpt2; Llama has none: leave it out");
    GLINT_REQUIRE(activation == Gelu::erf, "`activation` is of `model` gpt2; Llama's is SwiGLU: leave it out");
    GLINT_REQUIRE(rope_theta > 0.0f && std::isfinite(rope_theta), "`rope_theta` ", rope_theta,
                  ": give a number above 0");
  } else {
    GLINT_REQUIRE(rope_theta == GptConfig().rope_theta,
                  "`rope_theta` is of `model` llama; GPT-2 learns its positions: leave it out");
    GLINT_REQUIRE(!qk_norm, "`qk_norm` is of `model` llama: leave it out");
  }
  const struct {
    const char* field;
    float p;
  } drops[] = {{"`embd_dropout`", embd_dropout}, {"`attn_dropout`", attn_dropout}, {"`resid_dropout`", resid_dropout}};
  for (const auto& [field, p] : drops)
    GLINT_REQUIRE(p >= 0.0f && p < 1.0f, field, " ", p, " is not in [0, 1)");  // a NaN fails both
}

}  // namespace glint
