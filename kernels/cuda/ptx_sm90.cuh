// Hopper's PTX instructions (sm_90a) as functions: mbarriers, TMA, wgmma. Under a host compiler each is emulated
// (kernels/simt/hopper.h). Names are those of NVIDIA's "PTX ISA".
#pragma once

#include "kernels/cuda/ptx.cuh"

#ifdef __CUDACC__
#include <cuda.h>
#else
#include "kernels/simt/hopper.h"
#endif

namespace glint::ptx {

// A place in shared memory, by its 32-bit address.
struct SharedAddress {
  __device__ constexpr SharedAddress(unsigned address) : value(address) {}
#ifdef __CUDACC__
  __device__ SharedAddress(const void* p) : value(shared_address(p)) {}
#else
  SharedAddress(const void* p) : value(simt::shared_address(p)) {}
#endif
  unsigned value;
};

// ---- mbarriers

__device__ inline void mbarrier_init(SharedAddress barrier, unsigned count) {
#ifdef __CUDACC__
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier.value), "r"(count) : "memory");
#else
  simt::mbarrier_init(barrier.value, count);
#endif
}
// Makes initialised mbarriers visible to the asynchronous proxy.
__device__ inline void fence_mbarrier_init() {
#ifdef __CUDACC__
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  simt::fence_mbarrier_init();
#endif
}
__device__ inline void mbarrier_arrive(SharedAddress barrier) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier.value) : "memory");
#else
  simt::mbarrier_arrive(barrier.value, 0);
#endif
}
// Arrives, and lets the phase also wait for that many bytes of asynchronous copies.
__device__ inline void mbarrier_arrive_expect_tx(SharedAddress barrier, unsigned bytes) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier.value), "r"(bytes) : "memory");
#else
  simt::mbarrier_arrive(barrier.value, bytes);
#endif
}
// Until the phase of that parity is over. The loop is inside the asm, so that the compiler does not take what follows
// for divergent.
__device__ inline void mbarrier_wait(SharedAddress barrier, unsigned parity) {
#ifdef __CUDACC__
  asm volatile(
      "{\n.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra WAIT;\n"
      "DONE:\n}" ::"r"(barrier.value),
      "r"(parity)
      : "memory");
#else
  simt::mbarrier_wait(barrier.value, parity);
#endif
}

// ---- copies by TMA

__device__ inline void prefetch_tensor_map(const CUtensorMap* map) {
#ifdef __CUDACC__
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  (void)map;
#endif
}
// A box of a 4-D array, at (x, y, z, w), x the fastest; elements outside the array become zero. Of a swizzled box x is
// a multiple of 16 bytes, else an H100 reports an illegal instruction.
__device__ inline void tma_load(SharedAddress to, const CUtensorMap* map, SharedAddress barrier, int x, int y, int z,
                                int w) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to.value),
      "l"(map), "r"(barrier.value), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
#else
  simt::tma_load(to.value, map, barrier.value, {x, y, z, w});
#endif
}
// Contiguous bytes; their number and both addresses are multiples of 16.
__device__ inline void bulk_load(SharedAddress to, const void* global, unsigned bytes, SharedAddress barrier) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to.value),
      "l"(global), "r"(bytes), "r"(barrier.value)
      : "memory");
#else
  simt::bulk_load(to.value, global, bytes, barrier.value);
#endif
}
// From shared to global memory, written or added there as floats. Complete after bulk_commit() and bulk_wait().
__device__ inline void bulk_store(void* global, SharedAddress from, unsigned bytes) {
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(from.value), "r"(bytes)
               : "memory");
#else
  simt::bulk_store(global, from.value, bytes, false);
#endif
}
__device__ inline void bulk_add(float* global, SharedAddress from, unsigned bytes) {
#ifdef __CUDACC__
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
               "r"(from.value), "r"(bytes)
               : "memory");
#else
  simt::bulk_store(global, from.value, bytes, true);
#endif
}
__device__ inline void bulk_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  simt::bulk_commit();
#endif
}
__device__ inline void bulk_wait() {  // until all are written
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#else
  simt::bulk_wait(false);
#endif
}
__device__ inline void bulk_wait_read() {  // until their sources may be written again
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#else
  simt::bulk_wait(true);
#endif
}

// ---- proxy fences: between ordinary accesses of this thread and the asynchronous ones (TMA, wgmma)

__device__ inline void fence_proxy_async() {  // to shared memory
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  simt::fence_proxy_async();
#endif
}
__device__ inline void fence_proxy_async_global() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.global;" ::: "memory");
#else
  simt::fence_proxy_async_global();
#endif
}

// ---- between blocks: a number that one releases and another acquires

__device__ inline int load_acquire(const int* p) {
#ifdef __CUDACC__
  int v;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
#else
  return simt::load_acquire(p);
#endif
}
__device__ inline void store_release(int* p, int v) {
#ifdef __CUDACC__
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
#else
  simt::store_release(p, v);
#endif
}

// ---- shared memory by address

// Four 8x8 matrices of 16-bit elements, as ldmatrix reads them; lane l gives the address of row l%8 of matrix l/8.
__device__ inline void stmatrix(SharedAddress row, const uint32_t (&r)[4]) {
#ifdef __CUDACC__
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(row.value), "r"(r[0]), "r"(r[1]),
               "r"(r[2]), "r"(r[3])
               : "memory");
#else
  simt::stmatrix_x4(row.value, r);
#endif
}
__device__ inline void store_shared(SharedAddress to, uint32_t x) {
#ifdef __CUDACC__
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(to.value), "r"(x) : "memory");
#else
  simt::store_shared(to.value, x);
#endif
}
__device__ inline void store_shared(SharedAddress to, uint4 x) {
#ifdef __CUDACC__
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(to.value), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
#else
  simt::store_shared(to.value, x);
#endif
}
__device__ inline uint4 load_shared(SharedAddress from) {
#ifdef __CUDACC__
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(from.value)
               : "memory");
  return x;
#else
  return simt::load_shared(from.value);
#endif
}

// ---- registers of a warpgroup, a multiple of 8

template <int kCount>
__device__ inline void setmaxnreg_inc() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#else
  simt::setmaxnreg(kCount, true);
#endif
}
template <int kCount>
__device__ inline void setmaxnreg_dec() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#else
  simt::setmaxnreg(kCount, false);
#endif
}

}  // namespace glint::ptx
