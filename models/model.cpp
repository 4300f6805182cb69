#include "models/model.h"

#include "models/gpt.h"

namespace glint {

Tensor Model::loss(Graph& g, Tensor tokens, Tensor targets, AttentionKind attention, float scale) {
  return cross_entropy(g, head(g, hidden(g, tokens, attention)), targets, scale);
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
  return std::make_unique<Gpt>(config, device, dtype, weights);
}

}  // namespace glint
