// The sm_90a instructions behind the wrappers of kernels/cuda/ptx_sm90.cuh and wgmma.cuh. Every asynchronous operation
// happens as late as the ISA allows, and sees shared memory through the asynchronous proxy (async_proxy.h).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "kernels/simt/cuda_headers/cuda.h"
#include "kernels/simt/ptx.h"

namespace simt {

// Addresses are of the block's dynamic shared memory, which begins at kSharedBase, as on a GPU.
inline constexpr unsigned kSharedBase = 1024;
unsigned shared_address(const void* p);

// mbarrier.cpp
void mbarrier_init(unsigned barrier, unsigned count);
void fence_mbarrier_init();
void mbarrier_arrive(unsigned barrier, unsigned expect_bytes);
void mbarrier_wait(unsigned barrier, unsigned parity);

// barrier.cpp
void setmaxnreg(int count, bool increase);

// tma.cpp
void tma_load(unsigned to, const CUtensorMap* map, unsigned barrier, std::initializer_list<int> at);
void bulk_load(unsigned to, const void* global, unsigned bytes, unsigned barrier);
void bulk_store(void* global, unsigned from, unsigned bytes, bool add);
void bulk_commit();
void bulk_wait(bool read);  // read: until the sources have been read

// async_proxy.cpp
void fence_proxy_async();
void fence_proxy_async_global();

// grid.cpp
int load_acquire(const int* p);
void store_release(int* p, int value);

// shared_access.cpp
void stmatrix_x4(unsigned row, const uint32_t (&r)[4]);
void store_shared(unsigned to, uint32_t x);
void store_shared(unsigned to, uint4 x);
uint4 load_shared(unsigned from);

// wgmma.cpp
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(unsigned pending);
// d (64 x n over the warpgroup) = a b + (accumulate ? d : 0); a null: by descriptor.
struct WgmmaOperands {
  float* d;
  const uint32_t* a;
  uint64_t a_descriptor, b_descriptor;
  int n;
  bool accumulate, a_mn_major, b_mn_major;
};
void wgmma(const WgmmaOperands& operands);
template <int kRegisters>
void wgmma(float (&d)[kRegisters], const uint32_t* a, uint64_t a_descriptor, uint64_t b_descriptor, bool accumulate,
           bool a_mn_major, bool b_mn_major) {
  static_assert(kRegisters % 4 == 0 && kRegisters >= 4 && kRegisters <= 128);
  wgmma({d, a, a_descriptor, b_descriptor, 2 * kRegisters, accumulate, a_mn_major, b_mn_major});
}

}  // namespace simt
