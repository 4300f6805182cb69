// The names of CUDA C++ for host compilers, in place of <cuda_runtime.h> and <cuda_bf16.h>. There is no __shared__:
// kernels get shared memory from the helpers of kernels/cuda/device.cuh, which here is poisoned and checked.
#pragma once

#ifdef __CUDACC__
#error "kernels/simt/cuda.h is for host compilers"
#endif

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/simt/bf16.h"
#include "kernels/simt/block.h"
#include "kernels/simt/vector_access.h"
#include "kernels/simt/vector_types.h"
#include "kernels/simt/warp.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __align__(n) alignas(n)
#define __grid_constant__
#define __launch_bounds__(...)
#define __trap() simt::fail("__trap")
// glibc declares __expf and the like, so these cannot be functions
#define __expf(x) expf(x)
#define __exp2f(x) exp2f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)

using cudaStream_t = struct CUstream_st*;

inline thread_local dim3 gridDim, blockDim;
inline thread_local uint3 blockIdx{}, threadIdx{};
inline constexpr int warpSize = 32;

inline void __syncthreads(SIMT_HERE) { simt::self->block->barrier(SIMT_SITE("__syncthreads")); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T atomicAdd(T* p, T value) {
  return std::atomic_ref<T>(*p).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
T atomicMin(T* p, T value) {
  std::atomic_ref<T> shared(*p);
  T before = shared.load(std::memory_order_relaxed);
  while (value < before && !shared.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
  return before;
}

inline unsigned atomicInc(unsigned* p, unsigned most) {
  std::atomic_ref<unsigned> shared(*p);
  unsigned before = shared.load(std::memory_order_relaxed);
  while (!shared.compare_exchange_weak(before, before >= most ? 0 : before + 1, std::memory_order_relaxed)) {
  }
  return before;
}

template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T __ldcs(const T* p) {
  return *p;
}
template <typename T>
void __stcs(T* p, T value) {
  *p = value;
}

inline float __saturatef(float x) { return x > 0.0f ? x < 1.0f ? x : 1.0f : 0.0f; }  // a NaN becomes 0
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline void sincospif(float a, float* sine, float* cosine) {
  const double angle = 3.14159265358979324 * a;
  *sine = static_cast<float>(std::sin(angle)), *cosine = static_cast<float>(std::cos(angle));
}
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
inline int __popc(unsigned a) { return std::popcount(a); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __clz(int a) { return std::countl_zero(static_cast<unsigned>(a)); }
// Byte i of the result is byte (selector >> 4*i) & 7 of the eight of {high, low}; its sign, where bit 3 is set.
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t both = uint64_t{high} << 32 | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned select = selector >> (4 * i) & 0xf, byte = static_cast<unsigned>(both >> (8 * (select & 7)) & 0xff);
    result |= (select & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
  }
  return result;
}
using std::max;
using std::min;
