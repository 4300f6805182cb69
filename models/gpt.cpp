#include "models/gpt.h"

namespace glint {

Gpt::Gpt(const GptConfig& config, const Device& device, DType dtype, Weights weights) : Model(config, device, dtype) {
  const int C = config.embd;
  embedding_ = add_vocabulary("wte.weight");
  wpe_ = parameters_.add("wpe.weight", {config.context, C});
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string h = "h." + std::to_string(layer) + ".";
    Block block;
    block.ln_1 = add_norm(h + "ln_1");
    block.attn_c_attn = add_linear(h + "attn.c_attn", C, config.qkv_width());
    block.attn_c_proj = add_linear(h + "attn.c_proj", C, C);
    block.ln_2 = add_norm(h + "ln_2");
    block.mlp_c_fc = add_linear(h + "mlp.c_fc", C, config.hidden());
    block.mlp_c_proj = add_linear(h + "mlp.c_proj", config.hidden(), C);
    blocks_.push_back(block);
  }
  ln_f_ = add_norm("ln_f");
  finish(weights);
}

Gpt::WeightAndBias Gpt::add_linear(const std::string& name, int in, int out) {
  Parameter* const weight = parameters_.add(name + ".weight", {in, out});
  weight->hidden = true;
  return {weight, config_.bias ? parameters_.add(name + ".bias", {out}) : nullptr};
}

Gpt::WeightAndBias Gpt::add_norm(const std::string& name) {
  return {parameters_.add(name + ".weight", {config_.embd}),
          config_.bias ? parameters_.add(name + ".bias", {config_.embd}) : nullptr};
}

// Layers of x + attention(norm(x)), then x + mlp(norm(x)). A sum and the norm that follows it are one op, except where
// a layer is recomputed in backward: there the layer's first norm belongs to the layer, so that only the sum is kept.
Tensor Gpt::transformer(Graph& g, Tensor tokens, const int* first_position, const Attend& attend) {
  const auto weights = [&](WeightAndBias l) { return Linear{g.weight(l.weight), g.weight(l.bias)}; };
  const auto norm_of = [&](WeightAndBias l) {
    return Norm{g.parameter(l.weight), g.parameter(l.bias), config_.norm_epsilon};
  };
  const auto norm = [&](Tensor x, WeightAndBias l) { return layernorm(g, x, norm_of(l)); };
  const auto project = [&](Tensor x, WeightAndBias l) { return linear(g, x, g.weight(l.weight), g.weight(l.bias)); };
  const auto add_and_norm = [&](Tensor x, Tensor y, WeightAndBias l) {
    return residual_layernorm(g, x, y, config_.resid_dropout, norm_of(l));
  };
  g.scope("embedding");
  NormedSum x{embedding(g, tokens, g.weight(embedding_), g.weight(wpe_), config_.embd_dropout, first_position), {}};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& layer = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    g.scope("h." + std::to_string(i));
    g.begin_segment();
    if (!x.normed) x.normed = norm(x.sum, layer.ln_1);
    const Tensor qkv = project(x.normed, layer.attn_c_attn);
    x = add_and_norm(x.sum, project(attend(qkv, i), layer.attn_c_proj), layer.ln_2);
    const Tensor mlp =
        feed_forward(g, x.normed, weights(layer.mlp_c_fc), weights(layer.mlp_c_proj), config_.activation);
    if (last || g.options().recompute) x = {residual(g, x.sum, mlp, config_.resid_dropout), {}};
    else x = add_and_norm(x.sum, mlp, blocks_[i + 1].ln_1);
    g.end_segment();
  }
  g.scope("ln_f");
  return norm(x.sum, ln_f_);
}

std::string Gpt::describe() const {
  return str_cat(config_.layers, " layers, ", config_.heads, " heads, ", config_.embd, " channels");
}

}  // namespace glint
