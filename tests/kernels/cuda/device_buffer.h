// An array in the device's memory for a test, filled from the host and read back. The CUDA runtime is the real one in
// tests that run on a GPU, and the emulator's (kernels/simt/runtime.h) where kernels are emulated.
#pragma once

#include <cuda_runtime.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/check.h"

namespace glint::test {

inline void expect_success(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw Error(std::string(call) + ": " + cudaGetErrorString(status));
}

template <typename T>
class DeviceBuffer {
 public:
  // n uninitialised elements.
  explicit DeviceBuffer(size_t n) : size_(n) {
    void* memory = nullptr;
    expect_success(cudaMalloc(&memory, n * sizeof(T)), "cudaMalloc");
    data_ = static_cast<T*>(memory);
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) { copy_from(values); }
  DeviceBuffer(DeviceBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  T* data() const { return data_; }
  size_t size() const { return size_; }

  void copy_from(std::span<const T> values) const {
    GLINT_CHECK(values.size() == size_, values.size(), " values for a buffer of ", size_);
    expect_success(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
                   "cudaMemcpy to the device");
  }
  // Waits for all earlier launches.
  std::vector<T> to_host() const {
    std::vector<T> values(size_);
    expect_success(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
                   "cudaMemcpy from the device");
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace glint::test
