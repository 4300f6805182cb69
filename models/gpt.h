// GPT-2 (A. Radford et al., 2019): a decoder-only transformer with pre-norm blocks, learned positions, and an output
// head that is the token embedding, or a weight of its own (lm_head.weight).
//
// Parameters have the names and shapes of Hugging Face's GPT-2, linear weights as (in, out). Options beyond GPT-2: no
// biases, and grouped-query attention (c_attn is then [NH query heads | NKV key heads | NKV value heads] wide).
#pragma once

#include <string>
#include <vector>

#include "models/model.h"

namespace glint {

class Gpt final : public Model {
 public:
  // Allocates the parameters, zeroed; initialize() or a checkpoint fills them.
  explicit Gpt(const GptConfig& config, const Device& device = CpuContext{}, DType dtype = DType::f32,
               Weights weights = Weights::allocated);

  std::string describe() const override;

 private:
  struct WeightAndBias {
    Parameter *weight = nullptr, *bias = nullptr;
  };
  struct Block {
    WeightAndBias ln_1, attn_c_attn, attn_c_proj, ln_2, mlp_c_fc, mlp_c_proj;
  };

  WeightAndBias add_linear(const std::string& name, int in, int out);
  WeightAndBias add_norm(const std::string& name);
  Tensor transformer(Graph& g, Tensor tokens, const int* first_position, const Attend& attend) override;

  Parameter* wpe_ = nullptr;
  std::vector<Block> blocks_;
  WeightAndBias ln_f_;
};

}  // namespace glint
