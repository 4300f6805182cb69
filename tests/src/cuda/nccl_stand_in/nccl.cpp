// NCCL on the emulated device: collectives are work on a stream, moved by Gloo between processes when the stream gets
// there, and sums add up in the order of ranks. Stricter than NCCL:
//
//   - work reaches its stream only when the thread that gave it has asked ncclCommGetAsyncError until it said so;
//   - a communicator that ends while a graph lives that captured its work ends the process, where NCCL would wait for
//   ever.
//
// A peer that dies shows as ncclRemoteError, and the work that waits for it goes on waiting until somebody aborts.
#include "tests/src/cuda/nccl_stand_in/nccl.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/simt/device_memory.h"
#include "kernels/simt/simt.h"
#include "tests/src/cuda/nccl_stand_in/nccl_link.h"

namespace {

namespace fs = std::filesystem;
using glint::Communicator;
using simt::NcclLink;

thread_local int groups = 0;
thread_local std::vector<std::pair<NcclLink*, NcclLink::Given>> grouped;

size_t size_of(ncclDataType_t type) { return type == ncclFloat64 ? 8 : type == ncclFloat32 ? 4 : 2; }

void sum(Communicator& gloo, std::vector<std::byte>& data, ncclDataType_t type) {
  const size_t n = data.size() / size_of(type);
  if (type == ncclFloat64) gloo.all_reduce(std::span(reinterpret_cast<double*>(data.data()), n));
  else gloo.all_reduce(std::span(reinterpret_cast<float*>(data.data()), n));
}

std::vector<std::byte> bytes_at(const void* data, size_t bytes) {
  const auto* first = static_cast<const std::byte*>(data);
  return {first, first + bytes};
}

}  // namespace

struct EmulatedNccl {
  std::shared_ptr<NcclLink> link;
};

namespace {

ncclResult_t give(ncclComm_t comm, cudaStream_t stream, const void* send, const void* receive,
                  const NcclLink::Collective& work) {
  if (!simt::is_device(send) || !simt::is_device(receive))
    throw simt::Error("NCCL is given memory that is not the device's");
  if (groups == 0) return comm->link->give({{stream, work}});
  grouped.push_back({comm->link.get(), {stream, work}});
  return ncclSuccess;
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
  *version = 22809;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInternalError:
      return "internal error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
  }
  return "unknown result code";
}
const char* ncclGetLastError(ncclComm_t) {
  thread_local std::string copy;
  return (copy = simt::last_nccl_error()).c_str();
}

// The id is the folder where the ranks meet.
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::string folder = (fs::temp_directory_path() / "glint-nccl-XXXXXX").string();
  if (folder.size() >= sizeof id->internal || !mkdtemp(folder.data())) return ncclSystemError;
  std::strncpy(id->internal, folder.c_str(), sizeof id->internal);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  *comm = new EmulatedNccl{std::make_shared<NcclLink>(rank, ranks, id.internal)};
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  *result = comm->link->state();
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) { return comm->link->finalize(); }
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  comm->link->wait_for_graphs(std::chrono::milliseconds(0));
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->link->abort();
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++groups;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (groups == 0) return ncclInvalidUsage;
  if (--groups > 0 || grouped.empty()) return ncclSuccess;
  NcclLink* link = grouped.front().first;
  std::vector<NcclLink::Given> given;
  for (const auto& [owner, one] : std::exchange(grouped, {})) {
    if (owner != link) return ncclInvalidUsage;  // not in this emulation
    given.push_back(one);
  }
  return link->give(std::move(given));
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
  if (type == ncclBfloat16) return ncclInvalidArgument;  // glint adds up in fp32 and fp64
  return give(comm, stream, send, receive, [=](Communicator& gloo) {
    std::vector<std::byte> data = bytes_at(send, count * size_of(type));
    sum(gloo, data, type);
    std::copy(data.begin(), data.end(), static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  if (type == ncclBfloat16 || root < 0 || root >= comm->link->size) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](Communicator& gloo) {
    std::vector<std::byte> data = bytes_at(send, count * size_of(type));
    sum(gloo, data, type);
    if (gloo.rank() == root) std::copy(data.begin(), data.end(), static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t comm, cudaStream_t stream) {
  if (type == ncclBfloat16) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](Communicator& gloo) {
    const size_t part = count * size_of(type);
    std::vector<std::byte> data = bytes_at(send, part * static_cast<size_t>(gloo.size()));
    sum(gloo, data, type);
    std::copy_n(data.data() + part * static_cast<size_t>(gloo.rank()), part, static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  if (root < 0 || root >= comm->link->size) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](Communicator& gloo) {
    if (gloo.rank() == root && send != receive) std::memcpy(receive, send, count * size_of(type));
    gloo.broadcast(std::span(static_cast<std::byte*>(receive), count * size_of(type)), root);
  });
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return give(comm, stream, send, receive, [=](Communicator& gloo) {
    const size_t part = count * size_of(type);
    auto* all = static_cast<std::byte*>(receive);
    const size_t own = part * static_cast<size_t>(gloo.rank());
    if (all + own != send) std::memcpy(all + own, send, part);
    for (int root = 0; root < gloo.size(); ++root)
      gloo.broadcast(std::span(all + part * static_cast<size_t>(root), part), root);
  });
}
