// NCCL's communicator between the GPUs of all ranks: as a Communicator for values in host memory, which are sent
// through a small buffer on the GPU, and for the collectives of nccl_queue.cpp.
//
// The ranks connect by NCCL's bootstrap: NCCL_COMM_ID=ADDRESS:PORT in the environment, where rank 0 listens.
//
// A collective whose peer is dead may never end, and the host may be waiting for its GPU. So a thread checks NCCL's
// asynchronous error and the timeout every 100 ms and aborts the communicator: its kernels then end, and so does the
// host's wait. NCCL does not report which rank failed.
//
// Destroy CUDA graphs that captured its calls before the communicator, also after a fault.
//
// Source: NVIDIA, "NCCL", Communicator Creation and Management Functions; Fault Tolerance; Environment Variables.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "kernels/cuda/handles.h"
#include "src/comm/communicator.h"
#include "src/cuda/nccl_functions.h"

namespace glint {

class NcclCommunicator final : public Communicator {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // On the current device. Waits for all ranks: UserError if one does not connect within the timeout.
  NcclCommunicator(int rank, int size, Milliseconds timeout);
  // Waits for the end of all collectives, unless one failed.
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce(std::span<float> data) override { reduce_host(data, ncclFloat32); }
  void all_reduce(std::span<double> data) override { reduce_host(data, ncclFloat64); }
  void reduce_scatter(std::span<float> data) override { reduce_host(data, ncclFloat32); }
  void all_gather(std::span<float> data) override { gather_host(data); }
  void all_gather(std::span<Bf16> data) override { gather_host(data); }
  void broadcast(std::span<std::byte> data, int root) override;
  void abort(const std::string& why) noexcept override;

  // The following are for the collectives of one queue.
  cudaStream_t stream() const { return stream_.handle; }
  // One NCCL call or a group. Returns when the work has been enqueued on the stream.
  void call(const char* what, const std::function<ncclResult_t(ncclComm_t)>& calls);
  void start_timeout();  // before the host waits
  void check();          // after it has waited: ends the timeout, throws if a collective failed

 private:
  struct Fault {
    bool of_peer;
    std::string line;
  };

  void connect();
  void watch();
  void check_fault();
  Fault fault_of(const char* what, ncclResult_t result) const;
  void set_fault(const Fault& fault);  // keeps the first one
  void throw_fault() const;            // mutex_ is held
  // Moves `bytes` through the staging buffer: copies them to the GPU, calls, copies them back, and waits.
  void run_staged(const char* what, void* host, size_t bytes,
                  const std::function<ncclResult_t(ncclComm_t, void* device)>& calls);
  template <typename T>
  void reduce_host(std::span<T> data, ncclDataType_t type);
  template <typename T>
  void gather_host(std::span<T> data);

  const int rank_, size_;
  const Milliseconds timeout_;
  int gpu_ = 0;
  CudaStream stream_;
  std::unique_ptr<void, void (*)(void*)> staging_;  // on the GPU
  std::thread watchdog_;
  std::condition_variable changed_;
  std::mutex mutex_;  // held in every NCCL call except the abort; guards the following members
  ncclComm_t handle_ = nullptr;
  std::optional<Fault> fault_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  bool closing_ = false;
};

}  // namespace glint
