// A build with CUDA and without NCCL. Only src/cuda/ is compiled with GLINT_WITH_NCCL; other code calls nccl_version().
#ifndef GLINT_WITH_NCCL

#include "src/comm/collective_queue.h"
#include "src/comm/ranks.h"

namespace glint {

namespace {

[[noreturn]] void refuse(int ranks) {
  throw UserError(str_cat(ranks,
                          " ranks on GPUs: this build of glint has no NCCL; install libnccl-dev and build again, ",
                          "or train with one process"));
}

}  // namespace

std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext&, Communicator& comm) { refuse(comm.size()); }

std::unique_ptr<Communicator> make_nccl_communicator(const Ranks& ranks, int, std::chrono::milliseconds) {
  refuse(ranks.size);
}

std::string nccl_version() { return ""; }

}  // namespace glint

#endif
