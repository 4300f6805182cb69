#include "models/model.h"

#include "models/gpt.h"
#include "models/llama.h"

namespace glint {

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
