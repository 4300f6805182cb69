#include "models/llama.h"

namespace glint {

Llama::Llama(const GptConfig& config, const Device& device, DType dtype, Weights weights)
    : Model(config, device, dtype) {
  const int C = config.embd, H = config.hidden(), HS = config.head_size();
  embedding_ = add_vocabulary("model.embed_tokens.weight");
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string h = "model.layers." + std::to_string(layer) + ".";
    const std::string attn = h + "self_attn.", mlp = h + "mlp.";
    Block block{};
    block.input_norm = parameters_.add(h + "input_layernorm.weight", {C});
    block.qkv = add_matrix(attn + "qkv_proj.weight", config.qkv_width(), C);
    block.qkv->parts = {{attn + "q_proj.weight", config.heads * HS},
                        {attn + "k_proj.weight", config.kv_heads * HS},
                        {attn + "v_proj.weight", config.kv_heads * HS}};
    block.o = add_matrix(attn + "o_proj.weight", C, C);
    block.post_attention_norm = parameters_.add(h + "post_attention_layernorm.weight", {C});
    block.gate_up = add_matrix(mlp + "gate_up_proj.weight", 2 * H, C);
    block.gate_up->parts = {{mlp + "gate_proj.weight", H}, {mlp + "up_proj.weight", H}};
    block.down = add_matrix(mlp + "down_proj.weight", C, H);
    blocks_.push_back(block);
  }
  norm_ = parameters_.add("model.norm.weight", {C});
  finish(weights);
}

Parameter* Llama::add_matrix(const std::string& name, int out, int in) {
  Parameter* const matrix = parameters_.add(name, {out, in});
  matrix->hidden = true;
  return matrix;
}

// As Gpt's, but for positions, which queries and keys of each layer get, and the feed-forward layer.
Tensor Llama::transformer(Graph& g, Tensor tokens, const int* first_position, const Attend& attend) {
  const AttentionHeads heads{config_.heads, config_.kv_heads};
  const auto norm_of = [&](Parameter* weight) { return Norm{g.parameter(weight), {}, config_.norm_epsilon, true}; };
  const auto project = [&](Tensor x, Parameter* weight) {
    return linear(g, x, g.weight(weight), Tensor(), WeightLayout::out_in);
  };
  g.scope("embed_tokens");
  NormedSum x{embedding(g, tokens, g.weight(embedding_), Tensor(), config_.embd_dropout), {}};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& layer = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    g.scope("layers." + std::to_string(i));
    g.begin_segment();
    if (!x.normed) x.normed = layernorm(g, x.sum, norm_of(layer.input_norm));
    const Tensor qkv = project(x.normed, layer.qkv);
    rope(g, qkv, heads, config_.rope_theta, first_position);
    if (config_.qk_norm) qk_norm(g, qkv, heads, config_.norm_epsilon);
    x = residual_layernorm(g, x.sum, project(attend(qkv, i), layer.o), config_.resid_dropout,
                           norm_of(layer.post_attention_norm));
    const Tensor mlp = project(swiglu(g, project(x.normed, layer.gate_up)), layer.down);
    if (last || g.options().recompute) x = {residual(g, x.sum, mlp, config_.resid_dropout), {}};
    else x = residual_layernorm(g, x.sum, mlp, config_.resid_dropout, norm_of(blocks_[i + 1].input_norm));
    g.end_segment();
  }
  g.scope("norm");
  return layernorm(g, x.sum, norm_of(norm_));
}

std::string Llama::describe() const {
  return str_cat("Llama: ", config_.layers, " layers, ", config_.heads, " heads, ", config_.embd, " channels, ",
                 config_.hidden(), " in between");
}

}  // namespace glint
