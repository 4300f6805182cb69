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

}  // namespace glint
