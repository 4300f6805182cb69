// Hopper's matrix products as functions: wgmma of a warpgroup, bf16 to fp32, operands in 128-byte-swizzled tiles as TMA
// loads them (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"). Under a host compiler each is emulated.
#pragma once

#include "kernels/cuda/ptx_sm90.cuh"

namespace glint::ptx {

// The lower word of a matrix descriptor: leading offset and address in units of 16 bytes, so that it can be added to.
// K-major operands: 8 rows are 1024 bytes apart, `leading` is unused. MN-major: 8 k are 1024 bytes apart, 64 columns
// `leading` bytes.
__device__ inline uint32_t descriptor(SharedAddress tile, unsigned leading = 16) {
  return leading >> 4 << 16 | (tile.value >> 4 & 0x3fff);
}
// The upper word: 128-byte swizzle, stride 1024.
__device__ inline uint64_t whole_descriptor(uint32_t lower) { return uint64_t{1u << 30 | 1024 >> 4} << 32 | lower; }

__device__ inline void wgmma_fence() {
#ifdef __CUDACC__
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  simt::wgmma_fence();
#endif
}
__device__ inline void wgmma_commit() {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  simt::wgmma_commit();
#endif
}
// Until at most the kPending latest groups are in flight.
template <int kPending>
__device__ inline void wgmma_wait() {
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#else
  simt::wgmma_wait(kPending);
#endif
}

// No instruction: the compiler does not move uses of these registers, which a product in flight writes or reads,
// across.
template <int kCount>
__device__ inline void pin(float (&x)[kCount]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(x[i])::"memory");
#else
  (void)x;
#endif
}
template <int kA, int kB>
__device__ inline void pin(uint32_t (&x)[kA][kB]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kA; ++i) {
#pragma unroll
    for (int j = 0; j < kB; ++j) asm volatile("" : "+r"(x[i][j])::"memory");
  }
#else
  (void)x;
#endif
}

#define GLINT_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GLINT_D16(i) GLINT_D4(i), GLINT_D4(i + 4), GLINT_D4(i + 8), GLINT_D4(i + 12)
#define GLINT_R16_0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define GLINT_R16_1 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define GLINT_R16_2 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define GLINT_R16_3 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define GLINT_WGMMA(n) "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 "

// d (64 x N fp32 over the warpgroup, N / 2 registers a thread) = a b + (accumulate ? d : 0); a 64 x 16, b 16 x N.
// Register r: row 16 * warp + lane / 4 + 8 * (r / 2 % 2), column 8 * (r / 4) + 2 * (lane % 4) + r % 2.
// a and b in shared memory, each by rows of k (K-major) or by rows of m or n (MN-major).
template <bool kAMnMajor, bool kBMnMajor, int kRegisters>
__device__ inline void wgmma_ss(float (&d)[kRegisters], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kRegisters == 32 || kRegisters == 64);
#ifdef __CUDACC__
  if constexpr (kRegisters == 32) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" GLINT_WGMMA(64) "{" GLINT_R16_0 "," GLINT_R16_1
                                                                              "}, %32, %33, p, 1, 1, %35, %36;\n}"
                 : GLINT_D16(0), GLINT_D16(16)
                 : "l"(a), "l"(b), "r"(int{accumulate}), "n"(int{kAMnMajor}), "n"(int{kBMnMajor}));
  } else {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n" GLINT_WGMMA(128) "{" GLINT_R16_0 "," GLINT_R16_1
                                                                               "," GLINT_R16_2 "," GLINT_R16_3
                                                                               "}, %64, %65, p, 1, 1, %67, %68;\n}"
                 : GLINT_D16(0), GLINT_D16(16), GLINT_D16(32), GLINT_D16(48)
                 : "l"(a), "l"(b), "r"(int{accumulate}), "n"(int{kAMnMajor}), "n"(int{kBMnMajor}));
  }
#else
  simt::wgmma(d, nullptr, a, b, accumulate, kAMnMajor, kBMnMajor);
#endif
}
// a in registers: the fragment of mma.m16n8k16, 16 rows a warp.
template <bool kBMnMajor, int kRegisters>
__device__ inline void wgmma_rs(float (&d)[kRegisters], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(kRegisters == 32 || kRegisters == 64);
#ifdef __CUDACC__
  if constexpr (kRegisters == 32) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n" GLINT_WGMMA(
                     64) "{" GLINT_R16_0 "," GLINT_R16_1 "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
                 : GLINT_D16(0), GLINT_D16(16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}), "n"(int{kBMnMajor}));
  } else {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n" GLINT_WGMMA(
                     128) "{" GLINT_R16_0 "," GLINT_R16_1 "," GLINT_R16_2 "," GLINT_R16_3
                          "}, {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n}"
                 : GLINT_D16(0), GLINT_D16(16), GLINT_D16(32), GLINT_D16(48)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}), "n"(int{kBMnMajor}));
  }
#else
  simt::wgmma(d, a, 0, b, accumulate, false, kBMnMajor);
#endif
}

// By the lower words of their descriptors. In a loop over k, adding to the whole ones takes ptxas fewer instructions.
template <bool kAMnMajor, bool kBMnMajor, int kRegisters>
__device__ inline void wgmma_ss(float (&d)[kRegisters], uint32_t a, uint32_t b, bool accumulate) {
  wgmma_ss<kAMnMajor, kBMnMajor>(d, whole_descriptor(a), whole_descriptor(b), accumulate);
}
template <bool kBMnMajor, int kRegisters>
__device__ inline void wgmma_rs(float (&d)[kRegisters], const uint32_t (&a)[4], uint32_t b, bool accumulate) {
  wgmma_rs<kBMnMajor>(d, a, whole_descriptor(b), accumulate);
}

#undef GLINT_D4
#undef GLINT_D16
#undef GLINT_R16_0
#undef GLINT_R16_1
#undef GLINT_R16_2
#undef GLINT_R16_3
#undef GLINT_WGMMA

}  // namespace glint::ptx
