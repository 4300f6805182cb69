// One rank's end of an emulated NCCL communicator: what nccl.cpp's calls do to it, and the Gloo communicator behind it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/communicator.h"
#include "tests/src/cuda/nccl_stand_in/nccl.h"

namespace simt {

// Its work keeps it alive.
class NcclLink : public std::enable_shared_from_this<NcclLink> {
 public:
  using Collective = std::function<void(glint::Communicator&)>;
  struct Given {
    cudaStream_t stream;
    Collective work;
  };

  NcclLink(int rank, int size, const std::string& folder);  // of all ranks, where they meet
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  ncclResult_t give(std::vector<Given> given);
  ncclResult_t state();
  ncclResult_t finalize();
  void abort();
  void wait_for_graphs(std::chrono::milliseconds limit) const;

  const int rank, size;

 private:
  void connect();
  bool all_are_here() const;
  void send(const Given& given);
  void run(const Collective& collective);
  void fail(ncclResult_t result, const std::string& why);
  glint::Communicator* stop();

  const std::string folder_;
  const std::shared_ptr<int> captured_ = std::make_shared<int>();  // held by what is captured
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<glint::Communicator> ranks_;
  ncclResult_t state_ = ncclInProgress;
  std::vector<Given> unsent_;
  std::thread::id giver_;
  int asked_ = 0;  // by the giver, since it gave
  bool stopped_ = false, finalizing_ = false;
  std::thread thread_;
};

std::string last_nccl_error();

}  // namespace simt
