// PTX instructions as functions: all inline PTX of the project. Under a host compiler each is
// emulated (kernels/simt/ptx.h). Names and fragment layouts are those of NVIDIA's "PTX ISA".
#pragma once

#include "kernels/cuda/device.cuh"

#ifndef __CUDACC__
#include "kernels/simt/ptx.h"
#endif

namespace glint::ptx {

#ifdef __CUDACC__
__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }
#endif

// 16 bytes from global to shared memory, past the L1 cache; 16 zero bytes if not valid.
__device__ inline void cp_async(void* shared, const void* global, bool valid) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
#else
  simt::cp_async(shared, global, 16, valid ? 16 : 0);
#endif
}

__device__ inline void cp_async_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  simt::cp_async_commit();
#endif
}

// Until at most the kPending latest groups of this thread are in flight.
template <int kPending>
__device__ inline void cp_async_wait() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#else
  simt::cp_async_wait(kPending);
#endif
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l%8 of matrix l/8.
__device__ inline void ldmatrix(uint32_t (&r)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#else
  simt::ldmatrix_x4<false>(r, row);
#endif
}
__device__ inline void ldmatrix_transposed(uint32_t (&r)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#else
  simt::ldmatrix_x4<true>(r, row);
#endif
}

// d (16x8 fp32) += a (16x16 bf16) b (16x8 bf16).
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::mma_m16n8k16(d, a, b);
#endif
}

// Two floats rounded to bf16, `low` in the lower half.
__device__ inline uint32_t pack_bf16(float low, float high) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return uint32_t{__float2bfloat16_rn(high).bits} << 16 | __float2bfloat16_rn(low).bits;
#endif
}

// 2^x to about 2 ulp; 0 for -inf, NaN for NaN.
__device__ inline float exp2(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// 1 / x to 1 ulp, for |x| from 2^-126 to 2^126; NaN for NaN.
__device__ inline float reciprocal(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

// Byte i of the result: byte (selector >> 4*i) & 7 of a, then b, or its sign spread over the byte where the nibble has
// bit 3 set.
__device__ inline uint32_t byte_permute(uint32_t a, uint32_t selector, uint32_t b = 0) {
#ifdef __CUDACC__
  uint32_t r;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
  return r;
#else
  return __byte_perm(a, b, selector);
#endif
}

// The 64-bit product of x and y. Written as a C++ product it costs two instructions more (nvcc 13.0).
__device__ inline void multiply_wide(uint32_t& low, uint32_t& high, uint32_t x, uint32_t y) {
#ifdef __CUDACC__
  asm("{\n.reg .b64 t;\nmul.wide.u32 t, %2, %3;\nmov.b64 {%0, %1}, t;\n}" : "=r"(low), "=r"(high) : "r"(x), "r"(y));
#else
  const uint64_t product = uint64_t{x} * y;
  low = static_cast<uint32_t>(product), high = static_cast<uint32_t>(product >> 32);
#endif
}

// Of two numbers of 16 bits each, those whose `value`, in f16, is at most `limit`; else 0.
__device__ inline uint32_t keep_up_to(uint32_t x, uint32_t value, uint32_t limit) {
#ifdef __CUDACC__
  uint32_t mask;
  asm("set.le.u32.f16x2 %0, %1, %2;" : "=r"(mask) : "r"(value), "r"(limit));
  return x & mask;
#else
  return x & simt::less_equal_f16x2(value, limit);
#endif
}
// The same for two floats: `low` belongs to the lower half.
__device__ inline void keep_up_to(float& low, float& high, uint32_t value, uint32_t limit) {
#ifdef __CUDACC__
  asm("{\n.reg .pred p, q;\nsetp.le.f16x2 p|q, %2, %3;\n"
      "selp.f32 %0, %0, 0f00000000, p;\nselp.f32 %1, %1, 0f00000000, q;\n}"
      : "+f"(low), "+f"(high)
      : "r"(value), "r"(limit));
#else
  const uint32_t mask = simt::less_equal_f16x2(value, limit);
  low = mask & 1 ? low : 0.0f, high = mask >> 16 ? high : 0.0f;
#endif
}

// Named barriers, 1 to 15, of `threads` threads.
__device__ inline void barrier_sync(int id, int threads) {
#ifdef __CUDACC__
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::barrier_sync(id, threads);
#endif
}
__device__ inline void barrier_arrive(int id, int threads) {
#ifdef __CUDACC__
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::barrier_arrive(id, threads);
#endif
}

// x, which is the same in all lanes of a warp, where the compiler knows that it is: in a uniform register.
__device__ inline uint32_t uniform(uint32_t x) {
#ifdef __CUDACC__
  uint32_t y;
  asm("redux.sync.or.b32 %0, %1, 0xffffffff;" : "=r"(y) : "r"(x));
  return y;
#else
  return simt::uniform(x);
#endif
}
// The same, recomputed at each call, so that nothing derived from it is kept in registers across a loop.
__device__ inline uint32_t uniform_now(uint32_t x) {
#ifdef __CUDACC__
  uint32_t y;
  asm volatile("redux.sync.or.b32 %0, %1, 0xffffffff;" : "=r"(y) : "r"(x));
  return y;
#else
  return simt::uniform(x);
#endif
}

// No instruction: the value does not change, but the compiler can't know that, so it recomputes derived values instead
// of keeping them in registers.
__device__ inline void forget(uint32_t& value) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(value));
#else
  (void)value;
#endif
}

}  // namespace glint::ptx
