// Turns an error of a CUDA runtime call into an Error that names the call.
#pragma once

#include <cuda_runtime.h>

#include <concepts>

#include "kernels/check.h"

namespace glint {

// `what` is a text, or a function that returns one.
template <typename What>
void check_cuda(cudaError_t status, const What& what) {
  if (status == cudaSuccess) return;
  if constexpr (std::invocable<What>) {
    throw Error(str_cat("CUDA: ", what(), ": ", cudaGetErrorString(status)));
  } else {
    throw Error(str_cat("CUDA: ", what, ": ", cudaGetErrorString(status)));
  }
}

// Of the current device.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace glint
