// Losses of a model without dropout, over batches of a fixed shape: enqueued one after another, on a GPU as a CUDA
// graph that is replayed, and summed on the device. The host waits for the sum alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "models/model.h"
#include "train/training_step.h"

namespace glint {

class Evaluator {
 public:
  // Runs on the model's device. graph: on a GPU, replay a batch as a CUDA graph.
  Evaluator(Model& model, int batch, int context, AttentionKind attention, int loss_chunk = 0, bool graph = true);

  int batch() const { return batch_; }
  // Mean loss, nats per token, over `batches` batches of the sequences 0, 1, ... of `fill`. Each of several ranks
  // evaluates its share of the batches, and all return the mean.
  double mean_loss(const FillBatch& fill, int64_t batches, Communicator* comm = nullptr);

  // Enqueues a batch. fill writes tokens and targets (batch, T) and returns how many of the first predictions count.
  void add(const std::function<size_t(int32_t* tokens, int32_t* targets)>& fill);
  // The sum of the losses of all batches since the last call; waits for them.
  double take_sum();

 private:
  struct State {
    StepState step;
    double sums[2] = {};  // of the losses: of all batches, of the last one
  };
  template <typename Call>
  auto on_device(Call call) {
    return std::visit(call, graph_.options().device.context());
  }
  void enqueue(size_t counted);

  int batch_;
  bool replays_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_, state_memory_, scratch_;
  State* state_;  // on the device
  StepInputLayout input_;
  std::unique_ptr<Staging> staging_;
  std::function<void()> replay_;
  uint64_t batches_ = 0;  // enqueued so far
};

}  // namespace glint
