// Collectives between GPUs by NCCL, on a stream of their own: each waits by an event for what the computing stream has
// been given, and join() makes that one wait in turn. Where the computing stream is being captured into a CUDA graph,
// the first call takes this stream into the capture, and join() brings it back, as a capture asks for.
#include <cuda_runtime.h>

#include <exception>
#include <memory>

#include "src/comm/collective_queue.h"
#include "src/cuda/handles.h"
#include "src/cuda/nccl_communicator.h"
#include "src/cuda/stream_timer.h"

namespace glint {

namespace {

constexpr ncclDataType_t type_of(const float*) { return ncclFloat32; }
constexpr ncclDataType_t type_of(const double*) { return ncclFloat64; }
constexpr ncclDataType_t type_of(const Bf16*) { return ncclBfloat16; }

// All that `calls` makes, as one piece of work.
template <typename Calls>
ncclResult_t grouped(const Calls& calls) {
  ncclResult_t result = ncclGroupStart();
  if (result != ncclSuccess) return result;
  const ncclResult_t given = calls();
  result = ncclGroupEnd();
  return given == ncclSuccess || given == ncclInProgress ? result : given;
}

class NcclQueue final : public CollectiveQueue {
 public:
  NcclQueue(const CudaContext& ctx, Communicator& comm)
      : compute_(ctx.stream),
        rank_(comm.rank()),
        size_(comm.size()),
        unwinding_(std::uncaught_exceptions()),
        nccl_(comm) {
    try_out();
  }
  ~NcclQueue() override {
    // What another rank will not join in can't be waited for.
    if (std::uncaught_exceptions() > unwinding_) nccl_.abandon();
    else cudaStreamSynchronize(stream_.handle);
  }

  void all_reduce(float* data, size_t n) override { reduce_all(data, n); }
  void all_reduce(double* data, size_t n) override { reduce_all(data, n); }
  void reduce_scatter(float* data, size_t n) override {
    give("ncclReduceScatter", data, n, [=, this](ncclComm_t comm) {
      const size_t each = shard_of(n, 0, size_).size();
      if (each * static_cast<size_t>(size_) == n)
        return ncclReduceScatter(data, data + static_cast<size_t>(rank_) * each, each, ncclFloat32, ncclSum, comm,
                                 stream_.handle);
      return shard_by_shard(n, [=, this](const Shard& shard, int owner) {
        float* part = data + shard.begin;
        return ncclReduce(part, part, shard.size(), ncclFloat32, ncclSum, owner, comm, stream_.handle);
      });
    });
  }
  void all_gather(float* data, size_t n) override { gather(data, n); }
  void all_gather(Bf16* data, size_t n) override { gather(data, n); }

  void join() override {
    if (unjoined_) {
      const bool captured = capturing();
      check_cuda(cudaEventRecord(done_.handle, stream_.handle), "cudaEventRecord");
      waited_.start(compute_, captured);
      check_cuda(cudaStreamWaitEvent(compute_, done_.handle, 0), "cudaStreamWaitEvent");
      waited_.stop(compute_, captured);
      unjoined_ = false;
    }
    nccl_.check();
  }
  void check() override { nccl_.check(); }
  void count_replay() override {
    busy_.count_replay();
    waited_.count_replay();
    bytes_ += captured_bytes_;
  }
  Times times() const override { return {busy_.seconds(), waited_.seconds(), bytes_}; }

 private:
  // Where the GPUs can't reach each other this shows here, with nothing to undo. Each algorithm of NCCL's makes its
  // connections when it is first used: what will be captured must have run plainly before, as a run's first step does.
  void try_out() {
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, sizeof(float)), "cudaMalloc");
    const std::unique_ptr<void, void (*)(void*)> owner(memory, [](void* data) { cudaFree(data); });
    check_cuda(cudaMemsetAsync(memory, 0, sizeof(float), stream_.handle), "cudaMemset");
    nccl_.call("the first ncclAllReduce", [&](ncclComm_t comm) {
      return ncclAllReduce(memory, memory, 1, ncclFloat32, ncclSum, comm, stream_.handle);
    });
    check_cuda(cudaStreamSynchronize(stream_.handle), "the first ncclAllReduce");
    nccl_.check();
  }

  template <typename T>
  void reduce_all(T* data, size_t n) {
    give("ncclAllReduce", data, n, [=, this](ncclComm_t comm) {
      return ncclAllReduce(data, data, n, type_of(data), ncclSum, comm, stream_.handle);
    });
  }

  template <typename T>
  void gather(T* data, size_t n) {
    give("ncclAllGather", data, n, [=, this](ncclComm_t comm) {
      const size_t each = shard_of(n, 0, size_).size();
      if (each * static_cast<size_t>(size_) == n)
        return ncclAllGather(data + static_cast<size_t>(rank_) * each, data, each, type_of(data), comm, stream_.handle);
      return shard_by_shard(n, [=, this](const Shard& shard, int owner) {
        T* part = data + shard.begin;
        return ncclBroadcast(part, part, shard.size(), type_of(data), owner, comm, stream_.handle);
      });
    });
  }

  // Where the last shards are smaller: NCCL knows equal parts only.
  template <typename Call>
  ncclResult_t shard_by_shard(size_t n, const Call& call) const {
    return grouped([&] {
      for (int owner = 0; owner < size_; ++owner) {
        const Shard shard = shard_of(n, owner, size_);
        if (shard.size() == 0) continue;
        const ncclResult_t result = call(shard, owner);
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }

  template <typename T, typename Calls>
  void give(const char* what, const T*, size_t n, const Calls& calls) {
    if (n == 0) return nccl_.check();
    const bool captured = capturing();
    // One event serves all calls: a wait is for what the event was last recorded behind when the wait was asked for.
    check_cuda(cudaEventRecord(ready_.handle, compute_), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(stream_.handle, ready_.handle, 0), "cudaStreamWaitEvent");
    unjoined_ = true;
    busy_.start(stream_.handle, captured);
    nccl_.call(what, calls);
    busy_.stop(stream_.handle, captured);
    (captured ? captured_bytes_ : bytes_) += static_cast<double>(n * sizeof(T));
  }

  bool capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(compute_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  const cudaStream_t compute_;
  const int rank_, size_, unwinding_;
  CudaStream stream_;
  CudaEvent ready_{cudaEventDisableTiming}, done_{cudaEventDisableTiming};
  bool unjoined_ = false;  // something was given since the last join()
  mutable StreamTimer busy_, waited_;
  double bytes_ = 0, captured_bytes_ = 0;
  NcclCommunicator nccl_;  // the last: its end is the streams' and events' first
};

}  // namespace

std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext& ctx, Communicator& comm) {
  return std::make_unique<NcclQueue>(ctx, comm);
}

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "of an unknown version";
  return str_cat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace glint
