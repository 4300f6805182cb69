// The backend under test. Each file of tests/kernels/ops/ is compiled for the CPU, and with GLINT_TEST_CUDA once more
// for the CUDA kernels, emulated (GLINT_SIMT) or on a GPU.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/context.h"
#ifdef GLINT_TEST_CUDA
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/emulation.h"
#endif

namespace glint::test {

#ifdef GLINT_TEST_CUDA

using Context = CudaContext;

template <typename T>
using Buffer = DeviceBuffer<T>;

template <typename Check>
void for_each_context(const Check& check) {
  check(CudaContext{});
}

// Thread orders of the emulator; on a GPU as many repetitions.
template <typename Check>
void in_every_order(const Check& check, uint64_t seeds = 3) {
  simt::in_every_order([&] { check(CudaContext{}); }, seeds);
}

#else

using Context = CpuContext;

// An array with DeviceBuffer's interface.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t n) : data_(new T[n]), size_(n) {}
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { copy_from(values); }

  T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  void copy_from(std::span<const T> values) const { std::copy(values.begin(), values.end(), data()); }
  std::vector<T> to_host() const { return {data(), data() + size_}; }

 private:
  std::unique_ptr<T[]> data_;
  size_t size_;
};

template <typename Check>
void for_each_context(const Check& check) {
  for (const int threads : {1, 2, 3}) {
    INFO("threads ", threads);
    check(CpuContext{.threads = threads});
  }
}

// What the thread order is to a GPU, the thread count is to the CPU.
template <typename Check>
void in_every_order(const Check& check, uint64_t = 0) {
  for_each_context(check);
}

#endif

constexpr bool kOnCpu = std::is_same_v<Context, CpuContext>;
#if defined(GLINT_TEST_CUDA) && !defined(GLINT_SIMT)
constexpr bool kOnGpu = true;
#else
constexpr bool kOnGpu = false;
#endif

}  // namespace glint::test
