// A trained model with its data, gradients of its batches, and the inputs of each layer's attention.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "models/model.h"
#include "src/measure/attention_error.h"

namespace glint {

// On a CPU, in fp32.
struct StudiedModel {
  GptConfig config;
  std::unique_ptr<Model> model;
  uint64_t seed = 0, step = 0;  // of the run; steps done
  int batch = 1;                // sequences of its global batch
  std::optional<Dataset> data;  // of a run; else
  std::vector<int32_t> corpus;  // the built-in corpus

  TokenSpan tokens() const;
};
StudiedModel studied_run(const std::filesystem::path& run, int threads);

// A small model, trained for a moment on the built-in corpus. done(share) is called after each step.
struct ShortTraining {
  GptConfig config;  // its vocabulary is set
  int batch = 4, steps = 100, threads = 0;
  uint64_t seed = 1;
};
StudiedModel train_shortly(const ShortTraining& training, const std::function<void(double)>& done);

// The same weights in another number format.
std::unique_ptr<Model> copy_in(DType dtype, const StudiedModel& studied, int threads);

// How a gradient is computed: none of this changes it but for rounding.
struct GradientWay {
  int threads = 1;
  AttentionKind attention = AttentionKind::flash;
  int parts = 1;  // of the batch, passed one after another: micro-batches
  int ranks = 1;  // that share the batch; their gradients are added as ranks on CPUs do, in their order
  bool recompute = false;
};
// Sequences of the batch that the model would have trained with at its next step, of T tokens each; `skip`: batches
// later. mask_seed: of dropout.
struct StudiedBatch {
  int T, sequences;
  uint64_t skip = 0, mask_seed = 1;
};
// In the layout of the model's parameters; each(node) is called after the backward of each attention.
std::vector<float> gradient_of(Model& model, const StudiedModel& studied, const StudiedBatch& batch,
                               const GradientWay& way, const std::function<void(const Node&)>& each = {});
// q, k, v and the gradient of `out` of each layer, first layer first.
std::vector<AttentionCase> record_attention(const StudiedModel& studied, const StudiedBatch& batch, int threads);

}  // namespace glint
