// Draws next tokens from logits, by the definitions and in the order of Hugging Face transformers' generate(): the
// repetition penalty (N. S. Keskar et al., CTRL, 2019), temperature, top-k, top-p (A. Holtzman et al., 2020), min-p
// (M. Nguyen et al., 2024).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/philox.h"

namespace glint {

struct SamplingOptions {
  float temperature = 1.0f;  // 0: always the most likely token
  int top_k = 0;             // 0: all
  float top_p = 1.0f;        // 1: all
  float min_p = 0.0f;        // keeps tokens that are at least this times as likely as the likeliest; 0: all
  // Above 1: tokens seen before are less likely; a positive logit is divided by it, a negative one multiplied.
  float repetition_penalty = 1.0f;
  int32_t never = -1;  // a token that is never drawn (a tokenizer's unknown); -1: none
  uint64_t seed = 0;
  uint64_t stream = 0;  // number of the first sequence's sample, for several samples of one seed

  void validate() const;  // throws UserError naming the flag
};

struct Drawing {
  int sequences, vocab;  // B, V
  uint64_t index;        // of the tokens in their texts
  int columns = vocab;   // of logits; those from V on are padding, which is never drawn
  // (B, V), in the device's memory: 1 for tokens that the text has already; a draw adds its own. Null where there is no
  // repetition penalty.
  uint8_t* seen = nullptr;
};

GLINT_HOST_DEVICE inline float penalised(float logit, float penalty) {
  return logit < 0 ? logit * penalty : logit / penalty;
}

// tokens (B) and record (B): the token drawn from each row of logits (B, columns), keyed by (seed, stream + b, index):
// the same call, the same token, whatever the other rows. Scalar: float, Bf16.
template <typename Scalar>
void draw_tokens(const CpuContext& ctx, int32_t* tokens, int32_t* record, const Scalar* logits, void* scratch,
                 const Drawing& drawing, const SamplingOptions& options);
size_t draw_tokens_scratch(const CpuContext& ctx, const Drawing& drawing);  // in bytes

// Weights are summed in fixed point, so that sums do not depend on their order. The CPU draws another token only where
// its sums, in double, round to the other side of a boundary between two tokens.
template <typename Scalar>
void draw_tokens(const CudaContext& ctx, int32_t* tokens, int32_t* record, const Scalar* logits, void* scratch,
                 const Drawing& drawing, const SamplingOptions& options);
inline size_t draw_tokens_scratch(const CudaContext&, const Drawing& drawing) {  // penalised logits
  return static_cast<size_t>(drawing.sequences) * static_cast<size_t>(drawing.vocab) * sizeof(float);
}

// Uniform in [0, 1), 53 bits: which token of the text `stream` at `index`.
GLINT_HOST_DEVICE inline double sampling_point(uint64_t seed, uint64_t stream, uint64_t index) {
  constexpr uint32_t kSampleDomain = 0x53414D50;  // "SAMP": separates these draws from other uses of the seed
  const PhiloxCounter r = philox4x32<10>(
      {low_word(index), high_word(index) ^ kSampleDomain, low_word(stream), high_word(stream)}, philox_key(seed));
  return static_cast<double>((static_cast<uint64_t>(r.x) << 32 | r.y) >> 11) * 0x1p-53;
}

}  // namespace glint
