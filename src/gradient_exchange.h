// Sums the gradients over all ranks while backward runs: each bucket as soon as backward has filled it.
#pragma once

#include <memory>

#include "src/comm/collective_queue.h"
#include "src/graph.h"
#include "src/partition.h"

namespace glint {

class GradientExchange {
 public:
  // Hooks into backward of the graph, which is planned.
  GradientExchange(Graph& graph, const Parameters& parameters, const Partition& partition, Communicator& comm);

  // Whether backward sums the buckets it has filled; off in all micro-batches but a step's last one.
  void set_gradient_sync(bool on) { sync_ = on; }
  // After backward: all buckets, and `losses` (n), are summed when the device's further work begins. Sharded: only the
  // gradients of this rank's pieces.
  void finish(double* losses, size_t n);
  // Sums (n) over the ranks; further work waits for it.
  void add_up(double* sums, size_t n);
  // After the update of the pieces: further work finds all parameters, also those that other ranks updated (decayed
  // ones in bf16 as they are rounded).
  void gather(const Parameters& parameters);

  // As CollectiveQueue's.
  void check() { queue_->check(); }
  void begin_replay() { queue_->begin_replay(); }
  void count_replay() { queue_->count_replay(); }
  CollectiveQueue::Times times() const { return queue_->times(); }

 private:
  const Parameters& parameters_;
  const Partition& partition_;
  bool sync_ = false;
  std::unique_ptr<CollectiveQueue> queue_;
};

}  // namespace glint
