#include "src/staging.h"

#include <cuda_runtime.h>

#include "kernels/cuda/handles.h"
#include "src/memory.h"

namespace glint {

namespace {

// Page-locked memory, for asynchronous copies to the GPU.
struct PinnedMemory {
  explicit PinnedMemory(size_t bytes) { check_cuda(cudaMallocHost(&data, bytes), "cudaMallocHost"); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { cudaFreeHost(data); }
  void* data = nullptr;
};

// Copies run on their own stream; events order them with the compute stream.
class CudaStaging final : public Staging {
 public:
  CudaStaging(const CudaContext& ctx, size_t slot_bytes)
      : compute_(ctx.stream), slot_bytes_(slot_bytes), host_(2 * slot_bytes) {
    void* device = nullptr;
    check_cuda(cudaMalloc(&device, 2 * slot_bytes), "cudaMalloc");
    device_.reset(static_cast<std::byte*>(device));
  }

  std::byte* host(int slot) override {
    check_cuda(cudaEventSynchronize(uploaded_[slot].handle), "the upload of tokens");
    return static_cast<std::byte*>(host_.data) + static_cast<size_t>(slot) * slot_bytes_;
  }
  void upload(int slot) override {
    const size_t first = static_cast<size_t>(slot) * slot_bytes_;
    check_cuda(cudaStreamWaitEvent(copies_.handle, read_[slot].handle, 0), "cudaStreamWaitEvent");
    check_cuda(cudaMemcpyAsync(device_.get() + first, static_cast<std::byte*>(host_.data) + first, slot_bytes_,
                               cudaMemcpyHostToDevice, copies_.handle),
               "the upload of tokens");
    check_cuda(cudaEventRecord(uploaded_[slot].handle, copies_.handle), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(compute_, uploaded_[slot].handle, 0), "cudaStreamWaitEvent");
  }
  void release(int slot) override { check_cuda(cudaEventRecord(read_[slot].handle, compute_), "cudaEventRecord"); }
  std::byte* slots() const override { return device_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { cudaFree(memory); }
  };
  cudaStream_t compute_;
  size_t slot_bytes_;
  PinnedMemory host_;
  std::unique_ptr<std::byte, Free> device_;
  CudaStream copies_;
  CudaEvent uploaded_[2] = {CudaEvent(cudaEventDisableTiming), CudaEvent(cudaEventDisableTiming)};
  CudaEvent read_[2] = {CudaEvent(cudaEventDisableTiming), CudaEvent(cudaEventDisableTiming)};
};

}  // namespace

std::unique_ptr<Staging> make_staging(const CudaContext& ctx, size_t slot_bytes) {
  return std::make_unique<CudaStaging>(ctx, slot_bytes);
}

}  // namespace glint
