// A GPT so small that an emulated GPU trains it in a second.
#pragma once

#include "models/gpt.h"
#include "tests/kernels/cuda/emulation.h"
#include "train/training_step.h"

namespace glint::test {

inline constexpr int kContext = 12, kVocab = 23;

inline GptConfig tiny(float dropout) {
  GptConfig config;
  config.vocab = kVocab, config.context = kContext, config.layers = 2, config.heads = 4, config.kv_heads = 2,
  config.embd = 32;
  config.embd_dropout = config.attn_dropout = config.resid_dropout = dropout;
  return config;
}

inline void batch_of(uint64_t step, int32_t* tokens, int32_t* targets, uint64_t first, int count) {
  for (int i = 0; i < count * kContext; ++i) {
    const auto place = static_cast<int>(step) * 31 + static_cast<int>(first) * kContext + i;
    tokens[i] = (place * 5 + place / 7) % kVocab;
    targets[i] = (tokens[i] * 3 + 1) % kVocab;
  }
}

// Guarded, so that the host cannot access device memory, and late, so that a missing event or wait shows. No effect on
// a real GPU.
struct Emulated {
  simt::SavedDevice saved;
  explicit Emulated(uint64_t seed = 1) {
    simt::device.guarded = simt::device.late = true;
    simt::device.seed = seed;
  }
};

inline StepSettings settings(int micro_batch, bool recompute = false, bool graph = true) {
  StepSettings s;
  s.batch = 4, s.micro_batch = micro_batch, s.context = kContext, s.recompute = recompute, s.graph = graph;
  return s;
}

}  // namespace glint::test
