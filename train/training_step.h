// One optimizer step as data: tokens -> forward and backward per micro-batch -> gradient norm -> AdamW.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "models/gpt.h"
#include "src/optimizer.h"

namespace glint {

// Writes sequences first .. first+count-1 of the global batch: tokens and targets, (count, T) each.
using FillBatch = std::function<void(int32_t* tokens, int32_t* targets, uint64_t first, int count)>;

struct StepSettings {
  int batch = 1;        // sequences per optimizer step
  int micro_batch = 1;  // sequences per pass; divides batch
  int context = 1;      // T
  AttentionKind attention = AttentionKind::flash;
  bool recompute = false;
  AdamW adamw;
  double grad_clip = 1.0;  // 0: none
};

struct StepResult {
  double loss = 0;  // mean over the batch, nats per token
  double gradient_norm = 0;
  bool finite() const;
};

class TrainingStep {
 public:
  // Records and plans; `rng` lives as long as the step, which moves it on.
  TrainingStep(Gpt& model, const CpuContext& cpu, const StepSettings& settings, RngState& rng);

  size_t arena_bytes() const { return arena_.bytes(); }

  // The batch's gradients, in the model's parameters, with their norm.
  StepResult gradients(const FillBatch& fill);
  // The update, then RNG offset and step advance. rng.step counts from 0 before the first.
  void update(double gradient_norm, double learning_rate);

  // After a result that is not finite: which tensor was the first (forward, then backward, micro-batch by micro-batch).
  std::string first_not_finite(const FillBatch& fill);

  Graph& graph() { return graph_; }

 private:
  void load(const FillBatch& fill, int micro);

  Gpt& model_;
  CpuContext cpu_;
  StepSettings settings_;
  RngState& rng_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_;
};

}  // namespace glint
