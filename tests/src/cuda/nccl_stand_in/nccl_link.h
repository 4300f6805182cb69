// One rank's end of an emulated NCCL communicator: the operations behind nccl.cpp's calls, and its sockets. Rank 0
// listens at the address; all other ranks connect to it, and all bytes pass through it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/src/cuda/nccl_stand_in/nccl.h"

namespace simt {

// Its work keeps it alive.
class NcclLink : public std::enable_shared_from_this<NcclLink> {
 public:
  using Collective = std::function<void(NcclLink&)>;
  using Bytes = std::vector<std::byte>;
  struct Given {
    cudaStream_t stream;
    Collective work;
  };

  NcclLink(int rank, int size, const std::string& address);  // ADDRESS:PORT
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  ncclResult_t give(std::vector<Given> given);
  ncclResult_t state();
  ncclResult_t finalize();
  void abort();
  void wait_for_graphs(std::chrono::milliseconds limit) const;
  std::vector<Bytes> exchange(const Bytes& own);  // of all ranks; throws if one has ended, or after abort()

  const int rank, size;

 private:
  void connect(const std::string& address);
  int listen_at(const std::string& address);
  int connect_to(const std::string& address);
  void wait_for(int socket, short event);
  void send_all(int socket, const void* data, size_t bytes);
  void receive_all(int socket, void* data, size_t bytes);
  void send_bytes(int socket, const Bytes& bytes);
  Bytes receive_bytes(int socket);
  void enqueue_given(const Given& given);
  void run(const Collective& collective);
  void fail(ncclResult_t result, const std::string& why);
  void stop();

  const std::shared_ptr<int> captured_ = std::make_shared<int>();  // held by captured work
  std::vector<int> sockets_;                                       // by rank on rank 0; otherwise to rank 0
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  ncclResult_t state_ = ncclInProgress;
  std::vector<Given> unsent_;
  std::thread::id enqueuer_;
  int asked_ = 0;  // calls of that thread since it enqueued work
  bool finalizing_ = false;
  std::thread thread_;
};

std::string last_nccl_error();

}  // namespace simt
