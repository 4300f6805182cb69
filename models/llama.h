// Llama (H. Touvron et al., 2023): GPT-2's blocks with RMSNorm, rotary positions and SwiGLU, without biases; QK norm
// where it is asked for.
//
// Parameters have the names and shapes of Hugging Face's LlamaForCausalLM, linear weights as (out, in). The weights of
// queries, keys and values lie one behind the other and are one matrix product, as do those of gate and up.
#pragma once

#include <string>
#include <vector>

#include "models/model.h"

namespace glint {

class Llama final : public Model {
 public:
  // Allocates the parameters, zeroed; initialize() or a checkpoint fills them.
  explicit Llama(const GptConfig& config, const Device& device = CpuContext{}, DType dtype = DType::f32,
                 Weights weights = Weights::allocated);

  std::string describe() const override;

 private:
  struct Block {
    Parameter *input_norm, *qkv, *o, *post_attention_norm, *gate_up, *down;
  };

  Parameter* add_matrix(const std::string& name, int out, int in);
  Tensor transformer(Graph& g, Tensor tokens, const int* first_position, const Attend& attend) override;

  Parameter* norm_ = nullptr;
  std::vector<Block> blocks_;
};

}  // namespace glint
