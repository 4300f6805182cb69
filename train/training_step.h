// One optimizer step as data: tokens -> forward and backward per micro-batch -> gradient norm -> AdamW. All of it is
// given to the device at once, on a GPU as one CUDA graph; the host waits only where it asks for the result.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/gpt.h"
#include "src/gathered_state.h"
#include "src/gradient_exchange.h"
#include "src/optimizer.h"
#include "src/staging.h"

namespace glint {

// Writes sequences first .. first+count-1 of the global batch: tokens and targets, (count, T) each.
using FillBatch = std::function<void(int32_t* tokens, int32_t* targets, uint64_t first, int count)>;

struct StepSettings {
  int batch = 1;        // sequences per optimizer step, over all ranks
  int micro_batch = 1;  // sequences per pass of one rank; divides batch / ranks
  int context = 1;      // T
  AttentionKind attention = AttentionKind::flash;
  bool recompute = false;
  AdamW adamw;
  double grad_clip = 1.0;            // 0: none
  bool graph = true;                 // on a GPU: capture the step as a CUDA graph
  Communicator* comm = nullptr;      // the ranks that share the batch, an equal part each; null: this process alone
  PartitionSettings partition = {};  // how the gradients travel between them, and who keeps the moments
};

// What first_not_finite() says where no tensor by itself is at fault.
inline constexpr const char* kSumOfGradients = "the sum of the gradients";

struct StepResult {
  double loss = 0;  // mean over the batch, nats per token
  double gradient_norm = 0;
  uint64_t step = 0;  // steps done; fewer than were given where one was halted: its gradient was not finite
  bool finite() const;
};

class TrainingStep {
 public:
  // Records and plans, for the model's device; its parameters are set already. `rng` is where the random numbers stand
  // before the next step; run() moves it on, and it may be set to go on from elsewhere.
  TrainingStep(Gpt& model, const StepSettings& settings, RngState& rng);

  size_t arena_bytes() const { return arena_.bytes(); }
  const Partition& partition() const { return partition_; }
  GradientExchange* exchange() { return exchange_.get(); }  // null: one rank
  // How long the ranks' messages took, and how long this rank had nothing else to do, in all steps that were timed:
  // those of a CUDA graph are where their result was asked for.
  CollectiveQueue::Times exchanged() const { return exchange_ ? exchange_->times() : CollectiveQueue::Times(); }
  int64_t timed_steps() const { return timed_steps_; }

  // Gives one step to the device. Its parameters stay as they are from the first gradient on that is not finite.
  void run(const FillBatch& fill, double learning_rate);
  // Of the last step given; waits for it.
  StepResult result();

  // After a result that is not finite: which tensor was the first (forward, then backward, micro-batch by micro-batch).
  // `rng` goes back to where that step began.
  std::string first_not_finite(const FillBatch& fill);

  // Seconds spent by node, gathered while on; a step then runs without graph, node by node.
  void profile(bool on);
  Profile profiled() const;

 private:
  template <typename Call>
  auto on_device(Call call) {
    return std::visit(call, model_.parameters().device().context());
  }
  int ranks() const { return settings_.comm ? settings_.comm->size() : 1; }
  int sequences() const { return settings_.batch / ranks(); }  // of the batch, this rank's
  int first_sequence() const { return settings_.comm ? settings_.comm->rank() * sequences() : 0; }
  int micro_batches() const { return sequences() / settings_.micro_batch; }
  void upload(const FillBatch& fill, double learning_rate);
  void load_micro_batch(int micro);
  void enqueue();

  Gpt& model_;
  StepSettings settings_;
  RngState& rng_;
  RngState on_device_;  // what `rng` was when the device last had it
  const Partition partition_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_, state_memory_;
  StepState* state_;      // on the device, as all that follows
  double* micro_losses_;  // (micro-batches) sums
  char* scratch_;
  StagedBatch layout_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<GradientExchange> exchange_;  // null: one rank
  std::function<void()> replay_;
  bool ran_ = false, profiling_ = false, replayed_ = false;  // replayed: by the last step, and not counted yet
  int64_t timed_steps_ = 0;
  OpStats optimizer_;
  CollectiveQueue::Times profiled_from_;
};

}  // namespace glint
