#include "models/generate.h"

#include <algorithm>

namespace glint {

Generator::Generator(Model& model) : model_(model) {
  const Device& device = model.parameters().device();
  for (const Shape& shape : model.cache_shapes())
    caches_.emplace_back(shape.elements() * bytes_of(model.parameters().dtype()), "the KV cache", device);
  position_on_device_ = DeviceMemory(sizeof position_, "the position", device);
  step_ = record(1, true);
  chunk_ = record(std::min(kChunk, model.context()), false);
  arena_ = DeviceMemory(std::max(step_.graph->plan(), chunk_.graph->plan()), "generation", device);
  step_.graph->bind(arena_.data());
  chunk_.graph->bind(arena_.data());
}

Generator::Stage Generator::record(int T, bool with_head) {
  const DType dtype = model_.parameters().dtype();
  Stage stage{std::make_unique<Graph>(GraphOptions{.device = model_.parameters().device(), .dtype = dtype}), {}, {}};
  Graph& g = *stage.graph;
  std::vector<Tensor> caches;
  for (const Shape& shape : model_.cache_shapes())
    caches.push_back(g.outside("kv_cache", shape, dtype, caches_[caches.size()].data()));
  stage.tokens = g.input("tokens", {1, T}, DType::i32);
  const Tensor hidden =
      model_.hidden_cached(g, stage.tokens, caches, &position_, static_cast<const int*>(position_on_device_.data()));
  if (with_head) {
    stage.logits = model_.head(g, hidden);
    g.keep(stage.logits);
  }
  return stage;
}

void Generator::append(std::span<const int32_t> tokens) {
  const size_t chunk = static_cast<size_t>(chunk_.tokens.shape()[1]);
  while (!tokens.empty()) {
    const bool whole = tokens.size() > chunk;  // the rest goes token by token; the last one runs the head
    Stage& stage = whole ? chunk_ : step_;
    const size_t n = whole ? chunk : 1;
    std::visit(
        [&](const auto& ctx) {
          copy_to_device(ctx, stage.tokens.i32(), tokens.data(), n * sizeof(int32_t));
          copy_to_device(ctx, position_on_device_.data(), &position_, sizeof position_);
        },
        model_.parameters().device().context());
    stage.graph->forward();
    position_ += static_cast<int>(n);
    tokens = tokens.subspan(n);
  }
}

std::span<const float> Generator::logits_after(std::span<const int32_t> tokens) {
  GLINT_CHECK(!tokens.empty() && tokens.size() <= static_cast<size_t>(model_.context()), tokens.size(), " tokens");
  position_ = 0;
  append(tokens);
  return read_logits();
}

std::span<const float> Generator::read_logits() {
  const auto read = [&]<typename Scalar>(std::vector<Scalar> row) {
    row.resize(static_cast<size_t>(model_.vocab()));
    std::visit(
        [&](const auto& ctx) {
          copy_to_host(ctx, row.data(), step_.logits.data<Scalar>(), row.size() * sizeof(Scalar));
        },
        model_.parameters().device().context());
    logits_.resize(row.size());
    std::transform(row.begin(), row.end(), logits_.begin(), [](Scalar value) { return to_float(value); });
  };
  if (model_.parameters().dtype() == DType::bf16) read(std::vector<Bf16>());
  else read(std::vector<float>());
  return logits_;
}

void Generator::generate(std::span<const int32_t> prompt, int count, const SamplingOptions& options,
                         const std::function<bool(int32_t)>& emit) {
  GLINT_CHECK(!prompt.empty(), "generation starts from at least one token");
  const size_t context = static_cast<size_t>(model_.context());
  Sampler sampler(options);
  std::vector<int32_t> history(prompt.end() - static_cast<int64_t>(std::min(prompt.size(), context)), prompt.end());
  std::span<const float> logits = logits_after(history);
  for (int i = 0; i < count; ++i) {
    const int32_t token = sampler.draw(logits, static_cast<uint64_t>(i));
    if (!emit(token) || i + 1 == count) return;
    history.push_back(token);
    if (position_ < static_cast<int>(context)) {
      append({&token, 1});
      logits = read_logits();
    } else {
      history.erase(history.begin(), history.end() - static_cast<int64_t>((context + 1) / 2));
      logits = logits_after(history);
    }
  }
}

}  // namespace glint
