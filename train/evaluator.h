// Losses of a model without dropout, over batches of a fixed shape.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "models/gpt.h"
#include "train/training_step.h"

namespace glint {

class Evaluator {
 public:
  Evaluator(Gpt& model, const CpuContext& cpu, int batch, int context, AttentionKind attention);

  int batch() const { return batch_; }
  // Mean loss, nats per token, over `batches` batches that `fill` numbers from sequence 0 on.
  double mean_loss(const FillBatch& fill, int batches);
  // The losses (batch, T) of one batch, until the next call.
  std::span<const float> losses(const std::function<void(int32_t* tokens, int32_t* targets)>& fill);

 private:
  int batch_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_;
};

}  // namespace glint
