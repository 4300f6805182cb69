#include "models/generate.h"

#include <algorithm>

namespace glint {

Generator::Generator(Gpt& model, const CpuContext& cpu) : model_(model), cpu_(cpu) {
  const GptConfig& config = model.config();
  const size_t cache = 2 * static_cast<size_t>(config.context) * static_cast<size_t>(config.kv_heads * config.head_size());
  for (int layer = 0; layer < config.layers; ++layer) caches_.emplace_back(cache * sizeof(float), "the KV cache");
  step_ = record(1, true);
  chunk_ = record(std::min(kChunk, config.context), false);
  arena_ = DeviceMemory(std::max(step_.graph->plan(), chunk_.graph->plan()), "generation");
  step_.graph->bind(arena_.data());
  chunk_.graph->bind(arena_.data());
}

Generator::Stage Generator::record(int T, bool with_head) {
  const GptConfig& config = model_.config();
  Stage stage{std::make_unique<Graph>(GraphOptions{.cpu = cpu_}), {}, {}};
  Graph& g = *stage.graph;
  std::vector<Tensor> caches;
  for (DeviceMemory& cache : caches_)
    caches.push_back(g.outside("kv_cache", {2, config.context, config.kv_heads * config.head_size()}, DType::f32, cache.data()));
  stage.tokens = g.input("tokens", {1, T}, DType::i32);
  const Tensor hidden = model_.hidden_cached(g, stage.tokens, caches, &position_);
  if (with_head) {
    stage.logits = model_.head(g, hidden);
    g.keep(stage.logits);
  }
  return stage;
}

void Generator::append(std::span<const int32_t> tokens) {
  const size_t chunk = static_cast<size_t>(chunk_.tokens.shape()[1]);
  while (!tokens.empty()) {
    const bool whole = tokens.size() > chunk;  // the last token goes alone: it is the one whose logits are wanted
    Stage& stage = whole ? chunk_ : step_;
    const size_t n = whole ? chunk : 1;
    std::copy_n(tokens.begin(), n, stage.tokens.i32());
    stage.graph->forward();
    position_ += static_cast<int>(n);
    tokens = tokens.subspan(n);
  }
}

std::span<const float> Generator::logits_after(std::span<const int32_t> tokens) {
  GLINT_CHECK(!tokens.empty() && tokens.size() <= static_cast<size_t>(model_.config().context), tokens.size(), " tokens");
  position_ = 0;
  append(tokens);
  return {step_.logits.f32(), static_cast<size_t>(model_.config().vocab)};
}

void Generator::generate(std::span<const int32_t> prompt, int count, const SamplingOptions& options,
                         const std::function<bool(int32_t)>& emit) {
  GLINT_CHECK(!prompt.empty(), "generation starts from at least one token");
  const size_t context = static_cast<size_t>(model_.config().context);
  Sampler sampler(options);
  std::vector<int32_t> history(prompt.end() - static_cast<int64_t>(std::min(prompt.size(), context)), prompt.end());
  std::span<const float> logits = logits_after(history);
  for (int i = 0; i < count; ++i) {
    const int32_t token = sampler.draw(logits, static_cast<uint64_t>(i));
    if (!emit(token) || i + 1 == count) return;
    history.push_back(token);
    if (position_ < static_cast<int>(context)) {
      append({&token, 1});
    } else {
      history.erase(history.begin(), history.end() - static_cast<int64_t>((context + 1) / 2));
      logits_after(history);
    }
  }
}

}  // namespace glint
