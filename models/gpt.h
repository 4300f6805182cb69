// GPT-2 (A. Radford et al., 2019): a decoder-only transformer with pre-norm blocks, learned positions, and the output
// head tied to the token embedding.
//
// Parameters carry the names and shapes of Hugging Face's GPT-2, linear weights as (in, out). Options beyond it: no
// biases, grouped-query attention (c_attn is then [NH query heads | NKV key heads | NKV value heads] wide).
#pragma once

#include <cstdint>
#include <vector>

#include "models/gpt_config.h"
#include "src/ops.h"
#include "src/parameters.h"

namespace glint {

enum class Weights { allocated, laid_out };  // laid_out: without memory, for a model that is only planned

class Gpt {
 public:
  // Allocates the parameters, zeroed; initialize() or a checkpoint fills them. dtype: what the model computes in.
  explicit Gpt(const GptConfig& config, const Device& device = CpuContext{}, DType dtype = DType::f32,
               Weights weights = Weights::allocated);

  // N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)), layer norms 1, biases 0; keyed by
  // seed and the parameter's name, so that a value does not depend on the other parameters.
  void initialize(uint64_t seed);

  // Records the model over (B, T) tokens; returns the final layer norm's output (B, T, C).
  Tensor hidden(Graph& g, Tensor tokens, AttentionKind attention);
  // The same for one sequence that continues at position *first, with one KV cache (2, context, NKV*HS) per layer. The
  // position stands in the host's memory and in the device's.
  Tensor hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const int* first,
                       const int* first_on_device);
  // Logits (.., V) by the tied head.
  Tensor head(Graph& g, Tensor hidden);

  const GptConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  // Floating-point operations of forward and backward per token, attention over T keys included (halved by causality).
  double flops_per_token(int T) const;

 private:
  struct WeightAndBias {
    Parameter *weight = nullptr, *bias = nullptr;
  };
  struct Block {
    WeightAndBias ln_1, attn_c_attn, attn_c_proj, ln_2, mlp_c_fc, mlp_c_proj;
  };

  WeightAndBias add_linear(const std::string& name, int in, int out);
  WeightAndBias add_norm(const std::string& name);
  template <typename Attend>
  Tensor transformer(Graph& g, Tensor tokens, const int* first, Attend attend);

  GptConfig config_;
  Parameters parameters_;
  Parameter *wte_ = nullptr, *wpe_ = nullptr;
  std::vector<Block> blocks_;
  WeightAndBias ln_f_;
};

}  // namespace glint
