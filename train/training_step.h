// One optimizer step as data: tokens -> forward and backward per micro-batch -> gradient norm -> optimizer. All of it
// is enqueued at once, on a GPU as one CUDA graph; the host waits only when it asks for the result.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "src/gathered_state.h"
#include "src/gradient_exchange.h"
#include "src/optimizer.h"
#include "src/staging.h"
#include "train/team.h"

namespace glint {

// Writes sequences first .. first+count-1 of the global batch: tokens and targets, (count, T) each.
using FillBatch = std::function<void(int32_t* tokens, int32_t* targets, uint64_t first, int count)>;

struct StepSettings {
  int batch = 1;        // sequences per optimizer step, over all ranks
  int micro_batch = 1;  // sequences per pass of one rank; divides batch / ranks
  int context = 1;      // T
  AttentionKind attention = AttentionKind::flash;
  bool recompute = false;
  AdamW adamw = {};
  double grad_clip = 1.0;            // 0: none
  bool graph = true;                 // on a GPU: capture the step as a CUDA graph
  Communicator* comm = nullptr;      // the ranks that share the batch in equal parts; null: one process
  PartitionSettings partition = {};  // buckets of the gradient exchange, and which rank keeps which moments
  int loss_chunk = 0;                // rows of logits in memory at a time; 0: all
  Muon muon = {};                    // used if partition.muon
  DropoutVariant dropout_variant = DropoutVariant::flash;
};
StepSettings step_settings(const TrainOptions& options, Team& team);

// find_nonfinite() returns this if every single tensor is finite.
inline constexpr const char* kSumOfGradients = "the sum of the gradients";

struct StepResult {
  double loss = 0;  // mean over the batch, nats per token
  double gradient_norm = 0;
  uint64_t step = 0;  // steps done; fewer than were run if one was halted: its gradient was not finite
  bool finite() const;
};

class TrainingStep {
 public:
  // Records and plans, on the model's device. The model's parameters are already set.
  TrainingStep(Model& model, const StepSettings& settings, const RngState& rng);

  // Before the next step: seed, dropout offset, and steps done.
  const RngState& rng() const { return rng_; }
  // Continues from another state.
  void restore(const RngState& rng);

  size_t arena_bytes() const { return arena_.bytes(); }
  const Graph& graph() const { return graph_; }
  const Partition& partition() const { return partition_; }
  GradientExchange* exchange() { return exchange_.get(); }  // null: one rank
  // How long the communication took, and how long this rank waited for it, over all timed steps. Steps of a CUDA graph
  // are timed if their result is asked for.
  CollectiveQueue::Times exchanged() const { return exchange_ ? exchange_->times() : CollectiveQueue::Times(); }
  int64_t timed_steps() const { return timed_steps_; }

  // A pass whose results are thrown away, before a first step: gradients are all that it changes. Two where gradients
  // add up over micro-batches, so that all kernels of a step have run.
  void warm_up(const FillBatch& fill);

  // Enqueues one step. Once a gradient is not finite, no step changes the parameters any more.
  void run(const FillBatch& fill, double learning_rate);
  // Of the last step; waits for it.
  StepResult result();

  // After a result that is not finite: the first such tensor (forward, then backward, micro-batch by micro-batch).
  // rng() is then where that step began.
  std::string find_nonfinite(const FillBatch& fill);

  // Measures the seconds of each node while on; a step then runs without CUDA graph, node by node.
  void profile(bool on);
  Profile profiled() const;

 private:
  template <typename Call>
  auto on_device(Call call) {
    return std::visit(call, model_.parameters().device().context());
  }
  int ranks() const { return settings_.comm ? settings_.comm->size() : 1; }
  int sequences() const { return settings_.batch / ranks(); }  // of this rank
  int first_sequence() const { return settings_.comm ? settings_.comm->rank() * sequences() : 0; }
  int micro_batches() const { return sequences() / settings_.micro_batch; }
  void upload(const FillBatch& fill, double learning_rate);
  void load_micro_batch(int micro);
  void enqueue();

  Model& model_;
  StepSettings settings_;
  RngState rng_;
  bool rng_on_device_ = false;  // the device's state agrees with it
  const Partition partition_;
  Graph graph_;
  Tensor tokens_, targets_, losses_;
  DeviceMemory arena_, state_memory_;
  StepState* state_;      // on the device, like the next two
  double* micro_losses_;  // (micro-batches) sums
  char* scratch_;
  StepInputLayout input_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<GradientExchange> exchange_;  // null: one rank
  std::function<void()> replay_;
  bool ran_ = false, profiling_ = false;
  bool replayed_ = false;  // the last step was a replay, and is not counted yet
  int64_t timed_steps_ = 0;
  OpStats optimizer_;
  CollectiveQueue::Times profiled_from_;
};

// After a result that is not finite: the first such tensor, with its rank if there are several (all of them call this):
// "h.3.mlp.out on rank 2".
std::string find_nonfinite(TrainingStep& step, const FillBatch& fill, Team& team);

}  // namespace glint
