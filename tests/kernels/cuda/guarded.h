// Arrays of a kernel under test in the device's memory, in its precision: float or Bf16.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/dropout.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/emulation.h"
#include "tests/random.h"

namespace glint::test {

inline const CudaContext kCuda;
inline const CpuContext kCpu;

template <typename Scalar>
Scalar from_float_to(float value) {
  if constexpr (sizeof(Scalar) == 2) return to_bf16(value);
  else return value;
}

// The nearest values that Scalar has.
template <typename Scalar>
std::vector<float> rounded(std::vector<float> values) {
  for (float& value : values) value = to_float(from_float_to<Scalar>(value));
  return values;
}

// n elements that begin `offset` elements behind an address that is a multiple of 256 bytes. What lies on both sides
// must stay as it is; with AddressSanitizer nothing lies behind them, so that it sees what reads there.
template <typename Scalar>
class Guarded {
 public:
  explicit Guarded(const std::vector<float>& values, size_t offset = 0)
      : offset_(offset), n_(values.size()), buffer_(offset + n_ + kBehind) {
    std::vector<Scalar> all(buffer_.size(), from_float_to<Scalar>(kGuard));
    for (size_t i = 0; i < n_; ++i) all[offset_ + i] = from_float_to<Scalar>(values[i]);
    buffer_.copy_from(all);
  }
  // Elements that were not written: NaN.
  explicit Guarded(size_t n, size_t offset = 0) : Guarded(std::vector<float>(n, std::nanf("")), offset) {}

  Scalar* data() const { return buffer_.data() + offset_; }
  std::vector<float> values() const {
    const std::vector<Scalar> all = buffer_.to_host();
    for (size_t i = 0; i < all.size(); ++i) {
      if (i < offset_ || i >= offset_ + n_) REQUIRE(to_float(all[i]) == kGuard);
    }
    std::vector<float> inside;
    for (size_t i = 0; i < n_; ++i) inside.push_back(to_float(all[offset_ + i]));
    return inside;
  }

 private:
#ifdef __SANITIZE_ADDRESS__
  static constexpr size_t kBehind = 0;
#else
  static constexpr size_t kBehind = 16;
#endif
  static constexpr float kGuard = 1536.0f;
  size_t offset_, n_;
  DeviceBuffer<Scalar> buffer_;
};

// One object in the device's memory.
template <typename T>
struct OnDevice {
  explicit OnDevice(const T& value) : buffer(std::vector<T>{value}) {}
  T* data() const { return buffer.data(); }
  T get() const { return buffer.to_host()[0]; }
  DeviceBuffer<T> buffer;
};

// A dropout site whose RNG state lies in the device's memory, and the same one for the CPU.
struct DropoutPair {
  DropoutPair(float p, const RngState& rng, uint64_t site) : host(rng), device(rng) {
    if (p == 0.0f) return;
    cpu = {p, &host, site};
    cuda = {p, device.data(), site};
  }
  DropoutPair(const DropoutPair&) = delete;
  RngState host;
  OnDevice<RngState> device;
  Dropout cpu, cuda;
};

// States whose offsets reach into the high word, and carry into it from sequence to sequence.
inline const RngState kRngStates[] = {
    {77, 0, 2, 3}, {0x123456789abcdef0u, 0xffffffe0u, 3, 5}, {9, (uint64_t{5} << 32) - 64, 0, 1}};

// As check_as_good: a kernel's results in Scalar may be twice as far from the truth as plain ones rounded to Scalar.
template <typename Scalar>
void check_as_good_in(const std::string& what, const std::vector<float>& got, const std::vector<float>& plain,
                      const std::vector<double>& exact, double terms = 0.0) {
  check_as_good(what, got, rounded<Scalar>(plain), exact, terms);
}

}  // namespace glint::test
