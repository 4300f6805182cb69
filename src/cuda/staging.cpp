#include "src/staging.h"

#include <cuda_runtime.h>

#include "src/cuda/handles.h"
#include "src/memory.h"

namespace glint {

namespace {

// Page-locked memory, which the GPU can copy from while the host goes on.
struct PinnedMemory {
  explicit PinnedMemory(size_t bytes) { check_cuda(cudaMallocHost(&data, bytes), "cudaMallocHost"); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { cudaFreeHost(data); }
  void* data = nullptr;
};

// Copies go through a stream of their own; events order them with the stream that computes.
class CudaStaging final : public Staging {
 public:
  CudaStaging(const CudaContext& ctx, size_t words)
      : compute_(ctx.stream), words_(words), host_(2 * words * sizeof(int32_t)) {
    void* device = nullptr;
    check_cuda(cudaMalloc(&device, 2 * words * sizeof(int32_t)), "cudaMalloc");
    device_.reset(static_cast<int32_t*>(device));
  }

  int32_t* host(int slot) override {
    check_cuda(cudaEventSynchronize(uploaded_[slot].handle), "the upload of tokens");
    return static_cast<int32_t*>(host_.data) + static_cast<size_t>(slot) * words_;
  }
  void upload(int slot) override {
    const size_t first = static_cast<size_t>(slot) * words_;
    check_cuda(cudaStreamWaitEvent(copies_.handle, read_[slot].handle, 0), "cudaStreamWaitEvent");
    check_cuda(cudaMemcpyAsync(device_.get() + first, static_cast<int32_t*>(host_.data) + first,
                               words_ * sizeof(int32_t), cudaMemcpyHostToDevice, copies_.handle),
               "the upload of tokens");
    check_cuda(cudaEventRecord(uploaded_[slot].handle, copies_.handle), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(compute_, uploaded_[slot].handle, 0), "cudaStreamWaitEvent");
  }
  void release(int slot) override { check_cuda(cudaEventRecord(read_[slot].handle, compute_), "cudaEventRecord"); }
  const int32_t* slots() const override { return device_.get(); }

 private:
  struct Free {
    void operator()(int32_t* memory) const { cudaFree(memory); }
  };
  cudaStream_t compute_;
  size_t words_;
  PinnedMemory host_;
  std::unique_ptr<int32_t, Free> device_;
  CudaStream copies_;
  CudaEvent uploaded_[2] = {CudaEvent(cudaEventDisableTiming), CudaEvent(cudaEventDisableTiming)};
  CudaEvent read_[2] = {CudaEvent(cudaEventDisableTiming), CudaEvent(cudaEventDisableTiming)};
};

}  // namespace

std::unique_ptr<Staging> make_staging(const CudaContext& ctx, size_t words) {
  return std::make_unique<CudaStaging>(ctx, words);
}

}  // namespace glint
