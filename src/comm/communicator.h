// Communication between the ranks of a training run. Each rank has one communicator: all ranks make the same calls with
// the same sizes in the same order, each rank from one thread at a time; abort() may come from another thread. There
// are three: for one process, Gloo between CPUs, and NCCL between GPUs (src/cuda/nccl_communicator.h).
//
// Buffers are in host memory. Collectives on device memory are in collective_queue.h.
//
// Bits: Gloo computes every element of a sum as ((x of rank 0 + x of rank 1) + x of rank 2) + ..., rounded to the
// element's type after each addition. So all ranks, and all runs with the same number of ranks, get the same bits,
// however a buffer is split into calls. NCCL gives all ranks the same bits, but in its own order of additions.
//
// Errors: PeerError if another rank failed. It is thrown by the call that waits for that rank: at once when its
// connection closes, otherwise after a timeout. Do not use a communicator after an error.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "kernels/bf16.h"
#include "kernels/check.h"

namespace glint {

struct Ranks;

// Another rank failed: one line about it.
struct PeerError : UserError {
  PeerError(int at_fault, const std::string& line, bool was_reported = false)
      : UserError(line), rank(at_fault), reported(was_reported) {}
  int rank;       // the rank that failed; -1: unknown
  bool reported;  // that rank has printed the reason
};

// Elements [begin, end) of a buffer of n that belong to one rank: equal parts, rounded up to kShardUnit elements to
// keep the buffer's alignment. The last shards may be smaller or empty.
inline constexpr size_t kShardUnit = 16;
struct Shard {
  size_t begin, end;
  size_t size() const { return end - begin; }
};
Shard shard_of(size_t n, int rank, int ranks);

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;  // [0, size())
  virtual int size() const = 0;

  // data (n) = its sum over the ranks.
  virtual void all_reduce(std::span<float> data) = 0;
  virtual void all_reduce(std::span<double> data) = 0;
  // data (n): this rank's shard = its sum over the ranks, with the same bits as all_reduce; the rest is unspecified.
  virtual void reduce_scatter(std::span<float> data) = 0;
  // data (n): gathers the shards: each is copied from the rank that owns it.
  virtual void all_gather(std::span<float> data) = 0;
  virtual void all_gather(std::span<Bf16> data) = 0;
  // data = that of rank `root`.
  virtual void broadcast(std::span<std::byte> data, int root) = 0;
  // Returns when every rank has called it.
  void barrier() {
    double one = 1;
    all_reduce(std::span(&one, 1));
  }

  // This rank failed and makes no more calls. The other ranks' calls throw PeerError; Gloo sends them `why`.
  virtual void abort(const std::string& why) noexcept = 0;
};

// One process: no call changes the data.
std::unique_ptr<Communicator> make_single_communicator();

struct GlooOptions {
  std::string folder;     // on a file system that all ranks see; the ranks connect through files in folder/launch
  std::string launch;     // unique among launches that use this folder at the same time; see Ranks::launch
  std::string interface;  // network interface to use, as "eth0"; empty: the one on the route to Ranks::master_address,
                          // or loopback if that is not set
  std::chrono::milliseconds timeout = std::chrono::seconds(120);  // to connect, and to receive a message
};

#ifdef GLINT_WITH_GLOO
inline constexpr bool kHasGloo = true;
#else
inline constexpr bool kHasGloo = false;
#endif

// Connects all ranks. UserError if ranks are missing, the folder can't be written, or this build has no Gloo.
std::unique_ptr<Communicator> make_gloo_communicator(const Ranks& ranks, const GlooOptions& options);
// Connects the GPUs of all ranks at port master_port + 1 of Ranks::master_address; this rank uses GPU number `gpu`.
// UserError if ranks or that address are missing, or this build has no NCCL. In builds with CUDA only.
std::unique_ptr<Communicator> make_nccl_communicator(const Ranks& ranks, int gpu, std::chrono::milliseconds timeout);

}  // namespace glint
