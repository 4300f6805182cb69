// Arrays of a kernel under test in the memory of its backend, in its precision (float or Bf16), and what tests of ops
// share.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/dropout.h"
#include "kernels/matmul.h"
#include "tests/kernels/backend.h"
#include "tests/kernels/compare.h"
#include "tests/random.h"

#ifndef __has_feature  // GCC
#define __has_feature(x) 0
#endif

namespace glint::test {

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

// n elements that begin `offset` elements behind the start of an allocation. What lies on both sides must not change;
// with AddressSanitizer nothing lies behind them, so that it detects reads there.
template <typename Scalar>
class Guarded {
 public:
  explicit Guarded(const std::vector<float>& values, size_t offset = 0)
      : offset_(offset), n_(values.size()), buffer_(offset + n_ + kBehind) {
    std::vector<Scalar> all(buffer_.size(), from_float_to<Scalar>(kGuard));
    for (size_t i = 0; i < n_; ++i) all[offset_ + i] = from_float_to<Scalar>(values[i]);
    buffer_.copy_from(all);
  }
  Guarded(size_t n, float fill, size_t offset) : Guarded(std::vector<float>(n, fill), offset) {}
  // Elements that were not written: NaN.
  explicit Guarded(size_t n, size_t offset = 0) : Guarded(n, std::nanf(""), offset) {}

  Scalar* data() const { return buffer_.data() + offset_; }
  // Fails where a guard has changed.
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
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
  static constexpr size_t kBehind = 0;
#else
  static constexpr size_t kBehind = 16;
#endif
  static constexpr float kGuard = 1536.0f;
  size_t offset_, n_;
  Buffer<Scalar> buffer_;
};

// One object in the backend's memory.
template <typename T>
struct OnDevice {
  explicit OnDevice(const T& value) : buffer(std::vector<T>{value}) {}
  T* data() const { return buffer.data(); }
  T get() const { return buffer.to_host()[0]; }
  void set(const T& value) const { buffer.copy_from(std::vector<T>{value}); }
  Buffer<T> buffer;
};

// What a gradient holds before a kernel sets it or adds to it.
inline float before(Write write) { return write == Write::set ? std::nanf("") : 0.5f; }
// And what a plain sum of the same gradient starts from.
inline float base(Write write) { return write == Write::set ? 0.0f : 0.5f; }

// As check_as_good: a kernel's results in Scalar may be twice as far from the truth as plain ones rounded to Scalar.
template <typename Scalar>
void check_as_good_in(const std::string& what, const std::vector<float>& got, const std::vector<float>& plain,
                      const std::vector<double>& exact, double terms = 0.0, const std::vector<double>& known = {}) {
  check_as_good(what, got, rounded<Scalar>(plain), exact, terms, known);
}

// For the CPU, whose bf16 kernels compute as the fp32 ones do and round once, where they store: at most the last bit of
// bf16 differs from the fp32 kernel's result, and seldom (fp32 values close to a tie may round to either side).
inline void check_rounded_once(const std::string& what, const std::vector<float>& bf16,
                               const std::vector<float>& fp32) {
  INFO(what);
  const std::vector<float> expected = rounded<Bf16>(fp32);
  size_t apart = 0;
  for (size_t i = 0; i < bf16.size(); ++i) {
    apart += bf16[i] != expected[i];
    CHECK(std::abs(bf16[i] - expected[i]) <= std::abs(expected[i]) * 0x1p-7f);
  }
  CHECK(apart * 500 <= bf16.size());
}

}  // namespace glint::test
