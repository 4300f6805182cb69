// NCCL's communicator between the GPUs of all ranks, by RAII, and two threads that watch it.
//
// A host that waits for its GPU can look at nothing else, and a collective whose peer is dead never ends. So a thread
// looks every 100 ms at the ranks' own Communicator, which knows who died, and at NCCL's asynchronous error; at a fault
// it aborts NCCL's communicator: kernels that wait in vain end, and with them the host's wait. What they leave in
// memory means nothing then, and every further call here throws. Another thread exchanges a few bytes with its like in
// the other ranks twice a second, by a Communicator of their own: a process that stands still is found by its timeout,
// though nobody calls the ranks' first one. (Of one whose other threads go on, whoever waits for it by that one hears:
// the trainer, each step, before it waits for its GPU.)
//
// NCCL's communicators last as long as the CUDA graphs that its calls were captured in: those must be destroyed first,
// or the end of this one, also by a fault, waits for theirs.
//
// Source: NVIDIA, "NCCL", Communicator Creation and Management Functions; Fault Tolerance; Group Calls: nonblocking.
#pragma once

#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "src/comm/communicator.h"

namespace glint {

class NcclCommunicator {
 public:
  // Connects the current devices of all ranks of `comm`, one each; check() and abort() of it are called by the thread
  // too. UserError where that takes too long, PeerError where a rank is gone, Error where NCCL fails.
  explicit NcclCommunicator(Communicator& comm);
  // Waits for the end of what was given to it, unless there was a fault.
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  // Calls of NCCL: one, or a group. Returns when their work is on its stream, as far as the stream's order goes.
  void call(const char* what, const std::function<ncclResult_t(ncclComm_t)>& calls);
  void check();    // throws the fault there is
  void abandon();  // this rank fails: aborts; the others learn of it from who fails

 private:
  struct Fault {
    int rank;  // kNobody: not another rank's
    std::string line;
  };
  static constexpr int kNobody = -1;

  void connect();
  void watch();
  void look();
  void beat();
  void settle(const char* what, ncclResult_t result);
  Fault fault_behind(const char* what, ncclResult_t result);
  std::optional<Fault> named(std::chrono::milliseconds patience);  // what is known, or becomes so meanwhile
  void blame(const Fault& fault);                                  // the first one stands
  void throw_fault() const;                                        // mutex_ is held

  Communicator& comm_;
  int gpu_ = 0;
  std::unique_ptr<Communicator> beats_;  // null: one rank
  std::thread watcher_, beater_;
  std::condition_variable changed_;
  std::mutex mutex_;  // held in every call of NCCL but the abort; guards what follows
  ncclComm_t handle_ = nullptr;
  std::optional<Fault> fault_;
  bool closing_ = false;
};

}  // namespace glint
