// A tiny GPT-2 or Llama recorded for training, with its batch: shared by the tests of engine and models.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/reduce.h"
#include "models/gpt.h"
#include "tests/random.h"

namespace glint::test {

inline GptConfig tiny_config() {
  GptConfig config;
  config.vocab = 23, config.vocab_multiple = 1;
  config.context = 12;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.embd = 32;
  config.bias = true;
  return config;
}

inline GptConfig tiny_llama() {
  GptConfig config = tiny_config();
  config.kind = ModelKind::llama, config.bias = false;
  return config;
}

inline GptConfig with_dropout(GptConfig config, float p) {
  config.embd_dropout = config.attn_dropout = config.resid_dropout = p;
  return config;
}

// Of b from a, relative.
inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(a[i]), 2);
  }
  return std::sqrt(difference / size);
}

struct TinyRun {
  GptConfig config;
  int batch, micro_batch;
  CpuContext cpu;
  RngState rng{.seed = 11, .offset = 7, .step = 3, .first_sequence = 0};
  std::unique_ptr<Model> made;
  Model& model;
  Graph graph;
  Tensor tokens, targets, losses;
  DeviceMemory arena;
  std::vector<int32_t> all_tokens, all_targets;

  TinyRun(const GptConfig& c, int whole, int micro, bool recompute = false, AttentionKind kind = AttentionKind::flash,
          int threads = 2, int loss_chunk = 0)
      : config(c),
        batch(whole),
        micro_batch(micro),
        cpu{threads, default_matmul_engine()},
        made(make_model(c, CpuContext{}, DType::f32)),
        model(*made),
        graph({.device = cpu, .training = true, .rng = &rng, .global_batch = whole, .recompute = recompute}) {
    model.initialize(5);
    model.parameters().allocate_training();
    tokens = graph.input("tokens", {micro, c.context}, DType::i32);
    targets = graph.input("targets", {micro, c.context}, DType::i32);
    losses = model.loss(graph, tokens, targets, kind, 1.0f / static_cast<float>(whole * c.context), loss_chunk);
    graph.keep(losses);
    arena = DeviceMemory(graph.plan(), "test");
    graph.bind(arena.data());
    RandomInputs inputs(99);
    for (int i = 0; i < whole * c.context; ++i) {
      all_tokens.push_back(inputs.below(c.vocab));
      all_targets.push_back(inputs.below(c.vocab));
    }
  }

  // Gradients of the whole batch; returns the mean loss. `spoil` fills the arena with NaNs first.
  double run(bool spoil = false) {
    double total = 0;
    const size_t n = static_cast<size_t>(micro_batch * config.context);
    for (int micro = 0; micro < batch / micro_batch; ++micro) {
      if (spoil) std::memset(arena.data(), 0xff, arena.bytes());
      rng.first_sequence = static_cast<uint64_t>(micro * micro_batch);
      std::memcpy(tokens.i32(), all_tokens.data() + static_cast<size_t>(micro) * n, n * sizeof(int32_t));
      std::memcpy(targets.i32(), all_targets.data() + static_cast<size_t>(micro) * n, n * sizeof(int32_t));
      graph.accumulate(micro > 0);
      graph.forward();
      total += sum(cpu, losses.f32(), losses.shape().elements());
      graph.backward();
    }
    return total / (batch * config.context);
  }

  std::vector<float> gradients() const {
    const Parameters& p = model.parameters();
    return {p.gradients(), p.gradients() + p.elements()};
  }
};

}  // namespace glint::test
