// Sums the gradients over all ranks during backward, each bucket as soon as it is complete.
#pragma once

#include <memory>

#include "src/comm/collective_queue.h"
#include "src/graph.h"
#include "src/partition.h"

namespace glint {

class GradientExchange {
 public:
  // Hooks into backward of the graph, which must be planned.
  GradientExchange(Graph& graph, const Parameters& parameters, const Partition& partition, Communicator& comm);

  // Whether backward sums the buckets: on only in the last micro-batch of a step.
  void set_gradient_sync(bool on) { sync_ = on; }
  // sums (n), in device memory, = their sums over the ranks. Later work on the device sees these, and the sums of all
  // buckets that backward has begun; sharded: only the gradients of this rank's pieces.
  void sum_and_join(double* sums, size_t n);
  // Sums the gradients of elements [0, end), the end of a bucket, once more, as backward does.
  void sum_gradients(size_t end);
  // Sharded: gathers the gradients of the same elements from the ranks that have their sums.
  void gather_gradients(size_t end);
  // After the update of the pieces: gathers the parameters that other ranks updated (in a bf16 model the rounded copies
  // of decayed ones).
  void gather(const Parameters& parameters);

  // As in CollectiveQueue.
  void check() { queue_->check(); }
  void begin_replay() { queue_->begin_replay(); }
  void count_replay() { queue_->count_replay(); }
  CollectiveQueue::Times times() const { return queue_->times(); }

 private:
  void sum(const Bucket& bucket);

  const Parameters& parameters_;
  const Partition& partition_;
  bool sync_ = false;
  std::unique_ptr<CollectiveQueue> queue_;
};

}  // namespace glint
