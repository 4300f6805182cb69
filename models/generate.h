// Text generation with a KV cache: each new token costs one position's work.
//
// Texts can be longer than the context: when the cache is full, its second half is encoded again from position 0 (in
// chunks), which adds about one position's work per token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/model.h"
#include "models/sampler.h"

namespace glint {

class Generator {
 public:
  explicit Generator(Model& model);  // on the model's device

  // Draws `count` tokens after `prompt` (at least one token; if a prompt is longer than the context, only its end is
  // used) and calls `emit` with each, which returns false to stop.
  void generate(std::span<const int32_t> prompt, int count, const SamplingOptions& options,
                const std::function<bool(int32_t)>& emit);

  // Logits (V) that follow `tokens`, from a cleared cache.
  std::span<const float> logits_after(std::span<const int32_t> tokens);

 private:
  // A graph for T tokens.
  struct Stage {
    std::unique_ptr<Graph> graph;
    Tensor tokens, logits;
  };
  static constexpr int kChunk = 64;

  Stage record(int T, bool with_head);
  // Appends tokens to the cache; the logits of the last one are then in step_.logits.
  void append(std::span<const int32_t> tokens);
  std::span<const float> read_logits();

  Model& model_;
  std::vector<DeviceMemory> caches_;
  int position_ = 0;  // tokens in the cache
  DeviceMemory position_on_device_;
  Stage step_, chunk_;
  DeviceMemory arena_;
  std::vector<float> logits_;  // (V), of the last token
};

}  // namespace glint
