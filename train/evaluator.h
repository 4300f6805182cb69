// Losses of a model without dropout, over batches of a fixed shape.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/model.h"
#include "train/training_step.h"

namespace glint {

class Evaluator {
 public:
  // Runs on the model's device.
  Evaluator(Model& model, int batch, int context, AttentionKind attention, int loss_chunk = 0);

  int batch() const { return batch_; }
  // Mean loss, nats per token, over `batches` batches of the sequences 0, 1, ... of `fill`. Each of several ranks
  // evaluates its share of the batches, and all return the mean.
  double mean_loss(const FillBatch& fill, int batches, Communicator* comm = nullptr);
  // The losses (batch, T) of one batch; valid until the next call.
  std::span<const float> losses(const std::function<void(int32_t* tokens, int32_t* targets)>& fill);

 private:
  int batch_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_;
  std::vector<int32_t> host_tokens_, host_targets_;
  std::vector<float> host_losses_;
};

}  // namespace glint
