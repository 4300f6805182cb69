// Text generation with a KV cache: each new token costs one position's work. Several sequences go on side by side, each
// with its own samples, so that the weights are read once for all of them.
//
// Texts can be longer than the context: when the cache is full, its second half is encoded again from position 0 (in
// chunks), which adds about one position's work per token.
//
// On a GPU a step is one CUDA graph, which reads the position from the device's memory, and tokens are drawn there: the
// host waits once for several tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/sampling.h"
#include "models/model.h"

namespace glint {

class Generator {
 public:
  // On the model's device, for `sequences` at a time. graph: on a GPU, replay a step as a CUDA graph.
  explicit Generator(Model& model, int sequences = 1, bool graph = true);

  int sequences() const { return sequences_; }
  // Draws `count` tokens after `prompt` for each sequence (at least one token; if a prompt is longer than the context,
  // only its end is used) and calls `emit` with each, in the order of positions; it returns false to stop. Sequence b
  // has the samples of stream options.stream + b. Its text does not depend on the number of sequences where a row of
  // linear_forward() does not: see kFewRows. with_logits: `emit` may call logits().
  void generate(std::span<const int32_t> prompt, int count, const SamplingOptions& options,
                const std::function<bool(int sequence, int32_t token)>& emit, bool with_logits = false);
  // The model's logits (V) from which the sequence's last token was drawn.
  std::span<const float> logits(int sequence) const {
    const auto first = static_cast<size_t>(sequence) * static_cast<size_t>(columns_);
    return {logits_.data() + first, static_cast<size_t>(model_.vocab())};
  }

  // Logits (V) that follow `tokens`, from a cleared cache.
  std::span<const float> logits_after(std::span<const int32_t> tokens);

 private:
  using Texts = std::vector<std::vector<int32_t>>;  // one of each sequence, of equal lengths
  // A graph for T tokens of B sequences.
  struct Stage {
    std::unique_ptr<Graph> graph;
    Tensor tokens, logits;
  };
  static constexpr int kChunk = 64;  // tokens of one sequence that are encoded at once
  static constexpr int kBurst = 16;  // tokens that a GPU draws before the host looks at them

  template <typename Call>
  auto on_device(Call call) {
    return model_.parameters().device().visit(call);
  }
  Drawing drawing(uint64_t index) const {
    return {sequences_, model_.vocab(), index, columns_, static_cast<uint8_t*>(seen_.data())};
  }
  int* device_position() { return static_cast<int*>(position_on_device_.data()); }
  Stage record(int B, int T, const CachePlace& place);
  // Clears the cache and encodes the texts; the logits of their last tokens are then in step_.logits.
  void encode(const Texts& texts);
  // Appends the tokens in step_.tokens to the cache.
  void step();
  void draw(uint64_t index, int32_t* record, const SamplingOptions& options);
  void mark_seen(std::span<const int32_t> prompt, const SamplingOptions& options);
  void read_logits();

  Model& model_;
  const int sequences_;
  const bool graph_;
  int columns_ = 0;  // of logits
  std::vector<DeviceMemory> caches_;
  int position_ = 0;  // tokens in the cache
  int encoded_ = 0;   // the sequence that a chunk is for
  DeviceMemory position_on_device_, drawn_, draw_scratch_, seen_;
  Stage step_, chunk_;  // one token of each sequence; kChunk tokens of one
  DeviceMemory arena_;
  std::function<void()> replay_;
  bool ran_ = false;
  std::vector<float> logits_;  // (B, columns)
};

}  // namespace glint
