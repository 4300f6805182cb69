// Collectives on a device's memory, beside its other work: on the CPU a thread of their own, on a GPU a stream of their
// own. So that gradients travel while backward goes on.
//
// Calls return at once. What they give runs in the order given; each collective begins when the work is done that was
// given to the device before it, and join() makes the device's further work wait for all of them. All ranks give the
// same in the same order. Sums have the same bits on all ranks, and on CPUs those that communicator.h promises.
//
// Errors: PeerError where another rank is at fault, thrown by join() or a later call, on a GPU by check(). There a
// thread sees to it that the work ends which waits for that rank, and with it the host's wait; what it leaves in memory
// means nothing: call check() after a wait. A rank that fails by itself tells the others by Communicator::abort().
// Error where this rank's NCCL fails.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "src/comm/communicator.h"

namespace glint {

class CollectiveQueue {
 public:
  virtual ~CollectiveQueue() = default;

  // data (n): as the calls of Communicator of the same names; memory of the device.
  virtual void all_reduce(float* data, size_t n) = 0;
  virtual void all_reduce(double* data, size_t n) = 0;
  virtual void reduce_scatter(float* data, size_t n) = 0;
  virtual void all_gather(float* data, size_t n) = 0;
  virtual void all_gather(Bf16* data, size_t n) = 0;

  // Work given to the device from now on begins when the queue is empty. On a CPU: waits for that.
  virtual void join() = 0;
  // Throws what is known to be wrong with another rank; waits for nothing. For the time in which a host waits for its
  // GPU.
  virtual void check() = 0;

  // What was captured into a CUDA graph counts for a replay when this is called behind it, once the device's work has
  // ended.
  virtual void count_replay() {}

  // What collectives took so far, and for how much of that the device had nothing else to do, waiting in join().
  struct Times {
    double busy = 0, waited = 0;  // seconds
    double bytes = 0;             // of the buffers that were given
  };
  virtual Times times() const = 0;
};

// Both talk to the ranks of `comm`, which must live longer. On a CPU nobody else may use it between a call here and
// join().
std::unique_ptr<CollectiveQueue> make_collective_queue(const CpuContext& ctx, Communicator& comm);
// Over NCCL, whose ranks find each other by `comm`; a thread of its own calls check() and abort() of it. One GPU
// each. What was captured with its calls must be destroyed before the queue, or NCCL waits for that. UserError in a
// build without NCCL.
std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext& ctx, Communicator& comm);
// "2.28.9"; empty in a build without NCCL. In builds with CUDA alone.
std::string nccl_version();

}  // namespace glint
