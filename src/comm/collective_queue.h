// Collectives on a device's memory, asynchronous to its other work, so that gradients are exchanged while backward
// runs: in their own thread on a CPU, on their own stream on a GPU.
//
// Calls return at once. Collectives run in the order of the calls; each starts after the work that was enqueued on the
// device before it, and join() makes later work on the device wait for all of them. All ranks make the same calls in
// the same order. Bits and errors: see communicator.h. PeerError is thrown by join(), check() or a later call.
//
// GPUs: a thread of the communicator polls NCCL's errors and the timeout, and then aborts NCCL's kernels, so that the
// host stops waiting for its GPU. The buffers are then unspecified: call check() after each wait.
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

  // Like the calls of Communicator of the same names, with data (n) in device memory.
  virtual void all_reduce(float* data, size_t n) = 0;
  virtual void all_reduce(double* data, size_t n) = 0;
  virtual void reduce_scatter(float* data, size_t n) = 0;
  virtual void all_gather(float* data, size_t n) = 0;
  virtual void all_gather(Bf16* data, size_t n) = 0;

  // Later work on the device starts when the queue is empty. On a CPU: waits until it is.
  virtual void join() = 0;
  // After the host has waited for the device: throws if a collective failed.
  virtual void check() = 0;

  // A CUDA graph that captured calls of this queue: begin_replay() once a replay is enqueued (the timeout starts),
  // count_replay() once the device is done (adds its times).
  virtual void begin_replay() {}
  virtual void count_replay() {}

  // How long collectives took so far, and how long the device waited for them in join().
  struct Times {
    double busy = 0, waited = 0;  // seconds
    double bytes = 0;             // of all buffers
  };
  virtual Times times() const = 0;
};

// For the ranks of `comm`, which must outlive the queue. On a CPU nothing else may use `comm` between a call here and
// join().
std::unique_ptr<CollectiveQueue> make_collective_queue(const CpuContext& ctx, Communicator& comm);
// comm: of make_nccl_communicator, or of one rank. Graphs that captured calls must be destroyed before the queue.
// UserError in a build without NCCL.
std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext& ctx, Communicator& comm);
// "2.28.9": of NCCL's headers, because the library is loaded where ranks use it; empty in a build without NCCL. In
// builds with CUDA only.
std::string nccl_version();

}  // namespace glint
