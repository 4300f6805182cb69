#include "models/model.h"

#include "models/gpt.h"
#include "models/init.h"
#include "models/llama.h"

namespace glint {

Model::Model(const GptConfig& config, const Device& device, DType dtype) : config_(config), parameters_(device, dtype) {
  config.validate();
}

Parameter* Model::add_vocabulary(const std::string& name) {
  return parameters_.add(name, {config_.vocab, config_.embd}, config_.vocab_padding());
}

void Model::finish(Weights weights) {
  lm_head_ = config_.tied ? embedding_ : add_vocabulary("lm_head.weight");
  if (weights == Weights::allocated) parameters_.allocate();
  else parameters_.lay_out();
}

void Model::initialize(uint64_t seed) { initialize_parameters(parameters_, seed, config_.layers); }

Tensor Model::hidden(Graph& g, Tensor tokens, AttentionKind kind) {
  const AttentionHeads heads{config_.heads, config_.kv_heads};
  return transformer(g, tokens, nullptr,
                     [&](Tensor qkv, size_t) { return attention(g, qkv, heads, config_.attn_dropout, kind); });
}

Tensor Model::hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const CachePlace& place) {
  const AttentionHeads heads{config_.heads, config_.kv_heads};
  return transformer(g, tokens, place.first_on_device, [&](Tensor qkv, size_t layer) {
    return cached_attention(g, qkv, caches.at(layer), heads, place);
  });
}

std::vector<Shape> Model::cache_shapes(int sequences) const {
  const Shape cache{sequences, 2, config_.context, config_.kv_heads * config_.head_size()};
  return std::vector<Shape>(static_cast<size_t>(config_.layers), cache);
}

Tensor Model::head(Graph& g, Tensor hidden) {
  g.scope("head");
  return linear(g, hidden, head_weight(g), Tensor(), WeightLayout::out_in);
}

Tensor Model::loss(Graph& g, Tensor tokens, Tensor targets, AttentionKind attention, float scale, int chunk) {
  const Tensor x = hidden(g, tokens, attention);
  if (chunk == 0) return cross_entropy(g, head(g, x), targets, scale, vocab());
  g.scope("head");
  return linear_cross_entropy(g, x, head_weight(g), targets, scale, vocab(), chunk);
}

double Model::flops_per_token(int T) {
  Graph g({.device = parameters_.device(), .dtype = parameters_.dtype()});
  head(g, hidden(g, g.input("tokens", {1, T}, DType::i32), AttentionKind::flash));
  g.plan();
  double forward = 0;
  for (const auto& [name, stats] : g.work()) forward += stats.flops;
  return 3 * forward / T;  // backward has two products per product: the gradients of both factors
}

std::unique_ptr<Model> make_model(const GptConfig& config, const Device& device, DType dtype, Weights weights) {
  if (config.kind == ModelKind::llama) return std::make_unique<Llama>(config, device, dtype, weights);
  return std::make_unique<Gpt>(config, device, dtype, weights);
}

}  // namespace glint
