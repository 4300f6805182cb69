#include "models/gpt.h"

#include "models/init.h"

namespace glint {

Gpt::Gpt(const GptConfig& config, const Device& device, DType dtype, Weights weights)
    : Model(config.vocab, config.context, device, dtype), config_(config) {
  config.validate();
  const int C = config.embd;
  wte_ = parameters_.add("wte.weight", {config.vocab, C}, config.vocab_padding());
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
  lm_head_ = config.tied ? wte_ : parameters_.add("lm_head.weight", {config.vocab, C}, config.vocab_padding());
  if (weights == Weights::allocated) parameters_.allocate();
  else parameters_.lay_out();
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
template <typename Attend>
Tensor Gpt::transformer(Graph& g, Tensor tokens, const int* first, Attend attend) {
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
  NormedSum x{embedding(g, tokens, g.weight(wte_), g.weight(wpe_), config_.embd_dropout, first), {}};
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

Tensor Gpt::hidden(Graph& g, Tensor tokens, AttentionKind kind) {
  const AttentionHeads heads{config_.heads, config_.kv_heads};
  return transformer(g, tokens, nullptr,
                     [&](Tensor qkv, size_t) { return attention(g, qkv, heads, config_.attn_dropout, kind); });
}

Tensor Gpt::hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const CachePlace& place) {
  const AttentionHeads heads{config_.heads, config_.kv_heads};
  return transformer(g, tokens, place.first_on_device, [&](Tensor qkv, size_t layer) {
    return cached_attention(g, qkv, caches.at(layer), heads, place);
  });
}

void Gpt::initialize(uint64_t seed) { initialize_parameters(parameters_, seed, config_.layers); }

Tensor Gpt::head_weight(Graph& g) { return g.weight(lm_head_); }

std::vector<Shape> Gpt::cache_shapes(int sequences) const {
  return std::vector<Shape>(blocks_.size(), {sequences, 2, config_.context, config_.kv_heads * config_.head_size()});
}

std::string Gpt::describe() const {
  return str_cat(config_.layers, " layers, ", config_.heads, " heads, ", config_.embd, " channels");
}

}  // namespace glint
