// Draws the next token from logits: temperature, then top-k, then top-p (A. Holtzman et al., 2020).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace glint {

struct SamplingOptions {
  float temperature = 1.0f;  // 0: always the most likely token
  int top_k = 0;             // 0: all
  float top_p = 1.0f;        // 1: all
  int32_t never = -1;        // a token that is never drawn (a tokenizer's unknown); -1: none
  uint64_t seed = 0;
  uint64_t stream = 0;  // number of the sample, for several samples of one seed

  void validate() const;  // throws UserError naming the flag
};

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // Draws the token at this position of the output, keyed by (seed, stream, index): the same call, the same token.
  int32_t draw(std::span<const float> logits, uint64_t index);

 private:
  SamplingOptions options_;
  std::vector<std::pair<float, int32_t>> candidates_;  // (logit, then weight; token)
};

}  // namespace glint
