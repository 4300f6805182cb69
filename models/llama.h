// Llama (H. Touvron et al., 2023): GPT-2's blocks with RMSNorm, rotary positions and SwiGLU, without biases.
//
// Parameters have the names and shapes of Hugging Face's LlamaForCausalLM, linear weights as (out, in). The weights of
// queries, keys and values lie one behind the other and are one matrix product, as do those of gate and up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"

namespace glint {

class Llama final : public Model {
 public:
  // Allocates the parameters, zeroed; initialize() or a checkpoint fills them.
  explicit Llama(const GptConfig& config, const Device& device = CpuContext{}, DType dtype = DType::f32,
                 Weights weights = Weights::allocated);

  void initialize(uint64_t seed) override;
  Tensor hidden(Graph& g, Tensor tokens, AttentionKind attention) override;  // the final norm's output
  Tensor hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const CachePlace& place) override;
  Tensor head_weight(Graph& g) override;
  std::vector<Shape> cache_shapes(int sequences) const override;
  std::string describe() const override;

 private:
  struct Block {
    Parameter *input_norm, *qkv, *o, *post_attention_norm, *gate_up, *down;
  };

  Parameter* add_matrix(const std::string& name, int out, int in);
  template <typename Attend>
  Tensor transformer(Graph& g, Tensor tokens, const int* first, Attend attend);

  GptConfig config_;
  Parameter *embed_tokens_ = nullptr, *norm_ = nullptr, *lm_head_ = nullptr;
  std::vector<Block> blocks_;
};

}  // namespace glint
