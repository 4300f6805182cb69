// A build with CUDA and without NCCL. GLINT_WITH_NCCL is for src/cuda/ alone: what else is compiled asks
// nccl_version().
#ifndef GLINT_WITH_NCCL

#include "src/comm/collective_queue.h"

namespace glint {

std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext&, Communicator& comm) {
  throw UserError(str_cat(comm.size(),
                          " ranks on GPUs: this build of glint has no NCCL; build it where libnccl-dev is installed, ",
                          "or train with one process"));
}

std::string nccl_version() { return ""; }

}  // namespace glint

#endif
