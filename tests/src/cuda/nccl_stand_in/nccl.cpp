// NCCL on the emulated device: collectives are work on a stream. When the stream reaches one, every rank sends its
// bytes to all others over sockets; sums are added in the order of ranks. Stricter than NCCL:
//
//   - work reaches its stream only when the calling thread has polled ncclCommGetAsyncError until it succeeded;
//   - destroying a communicator before a graph that captured its work ends the process; NCCL would wait forever.
//
// If a peer dies the result is ncclRemoteError, and work that waits for it waits until the communicator is aborted.
#include "tests/src/cuda/nccl_stand_in/nccl.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/simt/device_memory.h"
#include "kernels/simt/simt.h"
#include "tests/src/cuda/nccl_stand_in/nccl_link.h"

namespace {

using simt::NcclLink;

thread_local int groups = 0;
thread_local std::vector<std::pair<NcclLink*, NcclLink::Given>> grouped;

size_t size_of(ncclDataType_t type) {
  return type == ncclFloat64 ? 8 : type == ncclFloat32 ? 4 : type == ncclBfloat16 ? 2 : 1;
}

std::vector<std::byte> bytes_at(const void* data, size_t bytes) {
  const auto* first = static_cast<const std::byte*>(data);
  return {first, first + bytes};
}

template <typename T>
void add(std::vector<std::byte>& into, const std::vector<std::byte>& from) {
  for (size_t at = 0; at < into.size(); at += sizeof(T)) {
    T a, b;
    std::memcpy(&a, &into[at], sizeof a);
    std::memcpy(&b, &from[at], sizeof b);
    a += b;
    std::memcpy(&into[at], &a, sizeof a);
  }
}

// The sum over the ranks of `bytes` at `data`.
std::vector<std::byte> sum_of(NcclLink& link, const void* data, size_t bytes, ncclDataType_t type) {
  const auto all = link.exchange(bytes_at(data, bytes));
  std::vector<std::byte> sum = all[0];
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (type == ncclFloat64) add<double>(sum, all[rank]);
    else add<float>(sum, all[rank]);
  }
  return sum;
}

bool can_add(ncclDataType_t type) { return type == ncclFloat32 || type == ncclFloat64; }  // the types that glint uses

}  // namespace

struct EmulatedNccl {
  std::shared_ptr<NcclLink> link;
};

namespace {

ncclResult_t give(ncclComm_t comm, cudaStream_t stream, const void* send, const void* receive,
                  const NcclLink::Collective& work) {
  if (!simt::is_device(send) || !simt::is_device(receive))
    throw simt::Error("NCCL gets memory that is not device memory");
  if (groups == 0) return comm->link->give({{stream, work}});
  grouped.push_back({comm->link.get(), {stream, work}});
  return ncclSuccess;
}

}  // namespace

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

// From NCCL_COMM_ID, as in NCCL, or for a single rank.
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const char* address = std::getenv("NCCL_COMM_ID");
  std::strncpy(id->internal, address ? address : "", sizeof id->internal - 1);
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
    if (owner != link) return ncclInvalidUsage;  // not supported by this emulation
    given.push_back(one);
  }
  return link->give(std::move(given));
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
  if (!can_add(type)) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](NcclLink& link) {
    const auto sum = sum_of(link, send, count * size_of(type), type);
    std::copy(sum.begin(), sum.end(), static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  if (!can_add(type) || root < 0 || root >= comm->link->size) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](NcclLink& link) {
    const auto sum = sum_of(link, send, count * size_of(type), type);
    if (link.rank == root) std::copy(sum.begin(), sum.end(), static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t comm, cudaStream_t stream) {
  if (!can_add(type)) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](NcclLink& link) {
    const size_t part = count * size_of(type);
    const auto sum = sum_of(link, send, part * static_cast<size_t>(link.size), type);
    std::copy_n(sum.data() + part * static_cast<size_t>(link.rank), part, static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  if (root < 0 || root >= comm->link->size) return ncclInvalidArgument;
  return give(comm, stream, send, receive, [=](NcclLink& link) {
    const bool sends = link.rank == root;
    const auto all = link.exchange(bytes_at(send, sends ? count * size_of(type) : 0));
    std::copy(all[static_cast<size_t>(root)].begin(), all[static_cast<size_t>(root)].end(),
              static_cast<std::byte*>(receive));
  });
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return give(comm, stream, send, receive, [=](NcclLink& link) {
    auto* to = static_cast<std::byte*>(receive);
    for (const auto& part : link.exchange(bytes_at(send, count * size_of(type))))
      to = std::copy(part.begin(), part.end(), to);
  });
}
