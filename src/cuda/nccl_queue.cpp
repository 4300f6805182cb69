// Collectives between GPUs by NCCL, on the communicator's stream: each waits by an event for the work enqueued on
// the compute stream before it, and join() makes the compute stream wait for all of them. While the compute stream is
// captured into a CUDA graph, the first call adds this stream to the capture, and join() joins it back.
#include <cuda_runtime.h>

#include <exception>
#include <memory>

#include "kernels/cuda/handles.h"
#include "src/comm/collective_queue.h"
#include "src/cuda/nccl_communicator.h"
#include "src/cuda/stream_timer.h"

namespace glint {

namespace {

constexpr ncclDataType_t type_of(const float*) { return ncclFloat32; }
constexpr ncclDataType_t type_of(const double*) { return ncclFloat64; }
constexpr ncclDataType_t type_of(const Bf16*) { return ncclBfloat16; }

// All of `calls` as one group.
template <typename Calls>
ncclResult_t grouped(const Calls& calls) {
  ncclResult_t result = ncclGroupStart();
  if (result != ncclSuccess) return result;
  const ncclResult_t inside = calls();
  result = ncclGroupEnd();
  return inside == ncclSuccess || inside == ncclInProgress ? result : inside;
}

class NcclQueue final : public CollectiveQueue {
 public:
  NcclQueue(const CudaContext& ctx, Communicator& comm)
      : compute_(ctx.stream),
        rank_(comm.rank()),
        size_(comm.size()),
        unwinding_(std::uncaught_exceptions()),
        single_(size_ == 1 ? std::make_unique<NcclCommunicator>(0, 1, kTimeout) : nullptr),
        nccl_(single_ ? *single_ : dynamic_cast<NcclCommunicator&>(comm)),
        stream_(nccl_.stream()) {}
  ~NcclQueue() override {
    // The other ranks will not complete the collectives that are still enqueued.
    if (std::uncaught_exceptions() > unwinding_) nccl_.abort("this rank failed");
    cudaStreamSynchronize(stream_);
  }

  void all_reduce(float* data, size_t n) override { reduce_all(data, n); }
  void all_reduce(double* data, size_t n) override { reduce_all(data, n); }
  void reduce_scatter(float* data, size_t n) override {
    enqueue("ncclReduceScatter", data, n, [=, this](ncclComm_t comm) {
      const size_t each = shard_of(n, 0, size_).size();
      if (each * static_cast<size_t>(size_) == n)
        return ncclReduceScatter(data, data + static_cast<size_t>(rank_) * each, each, ncclFloat32, ncclSum, comm,
                                 stream_);
      return shard_by_shard(n, [=, this](const Shard& shard, int owner) {
        float* part = data + shard.begin;
        return ncclReduce(part, part, shard.size(), ncclFloat32, ncclSum, owner, comm, stream_);
      });
    });
  }
  void all_gather(float* data, size_t n) override { gather(data, n); }
  void all_gather(Bf16* data, size_t n) override { gather(data, n); }

  void join() override {
    if (unjoined_) {
      const bool captured = capturing();
      check_cuda(cudaEventRecord(done_.handle, stream_), "cudaEventRecord");
      waited_.start(compute_, captured);
      check_cuda(cudaStreamWaitEvent(compute_, done_.handle, 0), "cudaStreamWaitEvent");
      waited_.stop(compute_, captured);
      unjoined_ = false;
      if (!captured) nccl_.start_timeout();
    }
  }
  void check() override { nccl_.check(); }
  void begin_replay() override { nccl_.start_timeout(); }
  void count_replay() override {
    busy_.count_replay();
    waited_.count_replay();
    bytes_ += captured_bytes_;
  }
  Times times() const override { return {busy_.seconds(), waited_.seconds(), bytes_}; }

 private:
  template <typename T>
  void reduce_all(T* data, size_t n) {
    enqueue("ncclAllReduce", data, n,
            [=, this](ncclComm_t comm) { return ncclAllReduce(data, data, n, type_of(data), ncclSum, comm, stream_); });
  }

  template <typename T>
  void gather(T* data, size_t n) {
    enqueue("ncclAllGather", data, n, [=, this](ncclComm_t comm) {
      const size_t each = shard_of(n, 0, size_).size();
      if (each * static_cast<size_t>(size_) == n)
        return ncclAllGather(data + static_cast<size_t>(rank_) * each, data, each, type_of(data), comm, stream_);
      return shard_by_shard(n, [=, this](const Shard& shard, int owner) {
        T* part = data + shard.begin;
        return ncclBroadcast(part, part, shard.size(), type_of(data), owner, comm, stream_);
      });
    });
  }

  // For shards of different sizes: NCCL supports equal parts only.
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
  void enqueue(const char* what, const T*, size_t n, const Calls& calls) {
    if (n == 0) return;
    const bool captured = capturing();
    // One event is enough: a wait refers to the latest record before it.
    check_cuda(cudaEventRecord(ready_.handle, compute_), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(stream_, ready_.handle, 0), "cudaStreamWaitEvent");
    unjoined_ = true;
    busy_.start(stream_, captured);
    nccl_.call(what, calls);
    busy_.stop(stream_, captured);
    (captured ? captured_bytes_ : bytes_) += static_cast<double>(n * sizeof(T));
  }

  bool capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(compute_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  static constexpr auto kTimeout = std::chrono::seconds(120);
  const cudaStream_t compute_;
  const int rank_, size_, unwinding_;
  const std::unique_ptr<NcclCommunicator> single_;  // for one rank, whose communicator is not NCCL's
  NcclCommunicator& nccl_;
  const cudaStream_t stream_;
  CudaEvent ready_{cudaEventDisableTiming}, done_{cudaEventDisableTiming};
  bool unjoined_ = false;  // calls since the last join()
  mutable StreamTimer busy_, waited_;
  double bytes_ = 0, captured_bytes_ = 0;
};

}  // namespace

std::unique_ptr<CollectiveQueue> make_collective_queue(const CudaContext& ctx, Communicator& comm) {
  return std::make_unique<NcclQueue>(ctx, comm);
}

std::string nccl_version() { return str_cat(NCCL_MAJOR, ".", NCCL_MINOR, ".", NCCL_PATCH); }

}  // namespace glint
