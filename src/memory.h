// Device memory by RAII. On the CPU: pages from the system, huge ones where it grants them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "src/device.h"

namespace glint {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Zeroed. If there is not enough, throws UserError that names `what`, the size and what to lower.
  DeviceMemory(size_t bytes, const std::string& what, const Device& device = CpuContext{});
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceMemory();

  void* data() const { return data_; }
  float* f32() const { return static_cast<float*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void swap(DeviceMemory& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_ = CpuContext{};
};

// "1.5 GB"
std::string human_bytes(double bytes);

}  // namespace glint
