// Streams and events of CUDA by RAII.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/check_cuda.h"

namespace glint {

struct CudaStream {
  CudaStream() { check_cuda(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreate"); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() { cudaStreamDestroy(handle); }
  cudaStream_t handle = nullptr;
};

struct CudaEvent {
  explicit CudaEvent(unsigned flags) { check_cuda(cudaEventCreateWithFlags(&handle, flags), "cudaEventCreate"); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent() { cudaEventDestroy(handle); }
  cudaEvent_t handle = nullptr;
};

}  // namespace glint
