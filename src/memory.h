// Device memory by RAII. On the CPU: zeroed pages straight from the system, on huge pages where it grants them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

namespace glint {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws UserError that names `what`, the size and what to lower if the system refuses.
  DeviceMemory(size_t bytes, const std::string& what);
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
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// "1.5 GB"
std::string human_bytes(double bytes);

}  // namespace glint
