#include "models/generate.h"

#include <algorithm>

#include "kernels/decode_attention.h"

namespace glint {

Generator::Generator(Model& model, int sequences, bool graph) : model_(model), sequences_(sequences), graph_(graph) {
  GLINT_CHECK(sequences >= 1, sequences, " sequences");
  const Device& device = model.parameters().device();
  for (const Shape& shape : model.cache_shapes(sequences))
    caches_.emplace_back(shape.elements() * bytes_of(model.parameters().dtype()), "the KV cache", device);
  position_on_device_ = DeviceMemory(sizeof position_, "the position", device);
  step_ = record(sequences, 1, {device_position(), nullptr, nullptr});
  step_.graph->keep(step_.logits = model_.head(*step_.graph, step_.logits));
  columns_ = step_.logits.shape().last();
  drawn_ = DeviceMemory(static_cast<size_t>(kBurst * sequences) * sizeof(int32_t), "drawn tokens", device);
  draw_scratch_ = DeviceMemory(on_device([&](const auto& ctx) { return draw_tokens_scratch(ctx, drawing(0)); }),
                               "the candidates of a draw", device);
  size_t bytes = step_.graph->plan();
  if (model.context() > kChunk) {
    chunk_ = record(1, kChunk, {device_position(), &position_, &encoded_});
    bytes = std::max(bytes, chunk_.graph->plan());
  }
  arena_ = DeviceMemory(bytes, "generation", device);
  step_.graph->bind(arena_.data());
  if (chunk_.graph) chunk_.graph->bind(arena_.data());
}

Generator::Stage Generator::record(int B, int T, const CachePlace& place) {
  const DType dtype = model_.parameters().dtype();
  Stage stage{std::make_unique<Graph>(GraphOptions{.device = model_.parameters().device(), .dtype = dtype}), {}, {}};
  Graph& g = *stage.graph;
  std::vector<Tensor> caches;
  for (const Shape& shape : model_.cache_shapes(sequences_))
    caches.push_back(g.outside("kv_cache", shape, dtype, caches_[caches.size()].data()));
  stage.tokens = g.input("tokens", {B, T}, DType::i32);
  stage.logits = model_.hidden_cached(g, stage.tokens, caches, place);
  return stage;
}

void Generator::encode(const Texts& texts) {
  const size_t length = texts[0].size();
  position_ = 0;
  const auto upload_position = [&] {
    on_device([&](const auto& ctx) { copy_to_device(ctx, device_position(), &position_, sizeof position_); });
  };
  upload_position();
  size_t done = 0;
  for (; length - done > kChunk; done += kChunk) {  // the rest goes token by token; the last one's logits are used
    for (encoded_ = 0; encoded_ < sequences_; ++encoded_) {
      on_device([&](const auto& ctx) {
        copy_to_device(ctx, chunk_.tokens.i32(), texts[static_cast<size_t>(encoded_)].data() + done,
                       kChunk * sizeof(int32_t));
      });
      chunk_.graph->forward();
    }
    position_ += kChunk;
    upload_position();
  }
  std::vector<int32_t> column(static_cast<size_t>(sequences_));
  for (; done < length; ++done) {
    for (size_t b = 0; b < column.size(); ++b) column[b] = texts[b][done];
    on_device([&](const auto& ctx) {
      copy_to_device(ctx, step_.tokens.i32(), column.data(), column.size() * sizeof(int32_t));
    });
    step();
  }
}

void Generator::step() {
  const auto enqueue = [this] {
    step_.graph->forward();
    on_device([&](const auto& ctx) { advance_position(ctx, device_position()); });
  };
  // The first step runs without a graph, as in training.
  if (ran_ && graph_) {
    if (!replay_) replay_ = on_device([&](const auto& ctx) { return capture(ctx, enqueue); });
    replay_();
  } else {
    enqueue();
  }
  ran_ = true;
  position_ += 1;
}

void Generator::draw(uint64_t index, int32_t* record, const SamplingOptions& options) {
  const auto from = [&]<typename Scalar>(const Scalar* logits) {
    on_device([&](const auto& ctx) {
      draw_tokens(ctx, step_.tokens.i32(), record, logits, draw_scratch_.data(), drawing(index), options);
    });
  };
  if (model_.parameters().dtype() == DType::bf16) from(static_cast<const Bf16*>(step_.logits.data<Bf16>()));
  else from(static_cast<const float*>(step_.logits.f32()));
}

void Generator::mark_seen(std::span<const int32_t> prompt, const SamplingOptions& options) {
  if (options.repetition_penalty == 1.0f) return static_cast<void>(seen_ = {});
  const auto V = static_cast<size_t>(model_.vocab());
  std::vector<uint8_t> seen(static_cast<size_t>(sequences_) * V);
  for (size_t row = 0; row < seen.size(); row += V)
    for (const int32_t token : prompt) seen[row + static_cast<size_t>(token)] = 1;
  seen_ = DeviceMemory(seen.size(), "tokens seen", model_.parameters().device());
  on_device([&](const auto& ctx) { copy_to_device(ctx, seen_.data(), seen.data(), seen.size()); });
}

void Generator::read_logits() {
  const auto read = [&]<typename Scalar>(std::vector<Scalar> rows) {
    rows.resize(static_cast<size_t>(sequences_) * static_cast<size_t>(columns_));
    on_device([&](const auto& ctx) {
      copy_to_host(ctx, rows.data(), step_.logits.data<Scalar>(), rows.size() * sizeof(Scalar));
    });
    logits_.resize(rows.size());
    std::transform(rows.begin(), rows.end(), logits_.begin(), [](Scalar value) { return to_float(value); });
  };
  if (model_.parameters().dtype() == DType::bf16) read(std::vector<Bf16>());
  else read(std::vector<float>());
}

std::span<const float> Generator::logits_after(std::span<const int32_t> tokens) {
  GLINT_CHECK(!tokens.empty() && tokens.size() <= static_cast<size_t>(model_.context()), tokens.size(), " tokens");
  encode(Texts(static_cast<size_t>(sequences_), {tokens.begin(), tokens.end()}));
  read_logits();
  return logits(0);
}

void Generator::generate(std::span<const int32_t> prompt, int count, const SamplingOptions& options,
                         const std::function<bool(int, int32_t)>& emit, bool with_logits) {
  GLINT_CHECK(!prompt.empty(), "generation starts from at least one token");
  options.validate();
  if (count <= 0) return;
  const int context = model_.context();
  const int most = with_logits || model_.parameters().device().is_cpu() ? 1 : kBurst;
  mark_seen(prompt, options);
  const size_t used = std::min(prompt.size(), static_cast<size_t>(context));
  Texts texts(static_cast<size_t>(sequences_), {prompt.end() - static_cast<int64_t>(used), prompt.end()});
  encode(texts);
  std::vector<int32_t> drawn(static_cast<size_t>(most * sequences_));
  for (int done = 0; done < count;) {
    // The last token of a burst may be one that no longer fits into the cache.
    const int burst = std::min({most, count - done, context - position_ + 1});
    auto* record = static_cast<int32_t*>(drawn_.data());
    for (int i = 0; i < burst; ++i) {
      draw(static_cast<uint64_t>(done + i), record + i * sequences_, options);
      if (with_logits) read_logits();
      if (position_ < context && done + i + 1 < count) step();
    }
    on_device([&](const auto& ctx) {
      copy_to_host(ctx, drawn.data(), record, static_cast<size_t>(burst * sequences_) * sizeof(int32_t));
    });
    for (int i = 0; i < burst * sequences_; ++i) {
      const int32_t token = drawn[static_cast<size_t>(i)];
      texts[static_cast<size_t>(i % sequences_)].push_back(token);
      if (!emit(i % sequences_, token)) return;
    }
    done += burst;
    if (done == count || texts[0].size() <= static_cast<size_t>(context)) continue;
    for (auto& text : texts) text.erase(text.begin(), text.end() - (context + 1) / 2);
    encode(texts);
  }
}

}  // namespace glint
