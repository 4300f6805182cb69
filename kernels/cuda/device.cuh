// Included by every kernel source: CUDA under nvcc, its emulation (kernels/simt/) under a host compiler.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include "kernels/cuda/check_cuda.h"
#else
#include "kernels/simt/cuda.h"
#include "kernels/simt/runtime.h"
#endif

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "kernels/check.h"
#include "kernels/context.h"

namespace glint {

// The block's dynamic shared memory (Launch::shared_bytes) as one object.
template <typename T>
__device__ T& dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(1024) char dynamic_shared_memory[];
  return *reinterpret_cast<T*>(dynamic_shared_memory);
#else
  return *reinterpret_cast<T*>(simt::self->block->dynamic_shared());
#endif
}

// One access to a whole vector (uint2, uint4) in memory, whose address is a multiple of its size.
template <typename Vector>
__device__ Vector load_vector(const void* from) {
#ifdef __CUDACC__
  return *static_cast<const Vector*>(from);
#else
  return simt::load_vector<Vector>(from);
#endif
}
template <typename Vector>
__device__ void store_vector(void* to, Vector value) {
#ifdef __CUDACC__
  *static_cast<Vector*>(to) = value;
#else
  simt::store_vector(to, value);
#endif
}

// Launch configuration; `what` names the call and its shape in errors.
struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;
};

// Throws Error if the launch fails. Errors inside the kernel show at a later call, as always in CUDA.
template <typename What, typename... P, typename... A>
void launch(const CudaContext& ctx, const Launch& l, const What& what, void (*kernel)(P...), const A&... arguments) {
#ifdef __CUDACC__
  if (l.shared_bytes > 48 * 1024) {  // more needs an attribute
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(l.shared_bytes)),
               what);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared_bytes;
  config.stream = ctx.stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), what);
#else
  (simt::check_argument(arguments, what), ...);
  simt::enqueue(ctx.stream, [=] { simt::run_grid(l.grid, l.block, l.shared_bytes, [&] { kernel(arguments...); }); });
#endif
}

}  // namespace glint
