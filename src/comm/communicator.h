// What the ranks of a training run say to each other. A communicator is one rank's end of it: all ranks make the same
// calls with the same sizes in the same order, each rank from one thread at a time; check() and abort() may come from
// another one. Two kinds: one process alone, and Gloo between CPUs; what stands above knows neither.
//
// Buffers are the host's. What moves a device's memory, by NCCL between GPUs, is in collective_queue.h.
//
// Bits: every element of a sum is ((x of rank 0 + x of rank 1) + x of rank 2) + ..., each addition rounded to the
// elements' own type. So all ranks get the same bits; so does every run with as many ranks; and so does a sum in other
// pieces (a bucket, a shard): a result depends neither on an element's place nor on the size of the call, nor on which
// call made it.
//
// Errors: PeerError where another rank is at fault, in the rank that waits for it and in all others. A rank whose
// process ends is noticed at once, also between calls (check()); one that stands still when a call has waited a timeout
// for it. After an error the communicator is of no more use: every further call throws the same.
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

// Another rank died, stands still or gave up: one line that names it.
struct PeerError : UserError {
  PeerError(int at_fault, const std::string& line) : UserError(line), rank(at_fault) {}
  int rank;
};

// Elements [begin, end) of a buffer of n that are one rank's part: equal parts, rounded up to kShardUnit so that they
// stay as aligned as the buffer is; what is left goes to the last ones, maybe nothing.
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
  // data (n): this rank's shard = its sum over the ranks, the same bits as by all_reduce; what the rest holds is not
  // said.
  virtual void reduce_scatter(std::span<float> data) = 0;
  virtual void reduce_scatter(std::span<double> data) = 0;
  // data (n): every shard = that of the rank whose it is. all_reduce is reduce_scatter, then all_gather.
  virtual void all_gather(std::span<float> data) = 0;
  virtual void all_gather(std::span<double> data) = 0;
  virtual void all_gather(std::span<Bf16> data) = 0;
  // data = that of rank `root`.
  virtual void broadcast(std::span<std::byte> data, int root) = 0;
  // Returns when every rank has called it.
  virtual void barrier() = 0;

  // Throws what is known to be wrong with another rank; waits for nothing. For long work between calls.
  virtual void check() = 0;
  // One more between the same ranks, for another thread; all call it. Null: alone, there is nobody to talk to.
  virtual std::unique_ptr<Communicator> duplicate() { return nullptr; }
  // This rank can't go on: the others' calls throw "rank R gave up: WHY".
  virtual void abort(const std::string& why) noexcept = 0;
};

// One process: every call leaves the data as it is.
std::unique_ptr<Communicator> make_single_communicator();

// How the ranks find each other, and how long they wait.
struct GlooOptions {
  std::string
      folder;  // of a file system that all ranks see; they meet in a folder in it named `launch`, which rank 0 removes
  // "redis://HOST[:PORT]", also with [USER]:PASSWORD@ before HOST: they meet there instead, and leave nothing but the
  // key "glint/LAUNCH", which rank 0 removes, or else goes by itself.
  std::string rendezvous;
  // No two launches that go on at the same time in one folder, or one Redis, may share it; see Ranks::launch. What an
  // earlier one has left there under the same name does no harm.
  std::string launch;
  // Name or address by which the others reach this machine, or a network interface, as "eth0". Both empty: the address
  // from which this machine reaches the Redis, or, with a folder, Ranks::master_address; where that is not told or
  // can't be looked up, 127.0.0.1.
  std::string host, interface;
  std::chrono::milliseconds timeout = std::chrono::seconds(120);  // for a rank to come, or to send what is waited for
};

#ifdef GLINT_WITH_GLOO
inline constexpr bool kHasGloo = true;
#else
inline constexpr bool kHasGloo = false;
#endif
#ifdef GLINT_WITH_REDIS
inline constexpr bool kHasRedis = true;
#else
inline constexpr bool kHasRedis = false;
#endif

// Connects all ranks; returns when all are there. Throws UserError where ranks are missing, in a folder that can't be
// written, at a Redis that does not answer, or in a build without Gloo. Starts a thread for each other rank, which
// sleeps until that rank fails.
std::unique_ptr<Communicator> make_gloo_communicator(const Ranks& ranks, const GlooOptions& options);

}  // namespace glint
