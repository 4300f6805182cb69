// Tensors of a graph: a handle to a shape, a dtype and a buffer whose address is fixed once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/check.h"

namespace glint {

enum class DType : uint8_t { f32, bf16, i32 };
constexpr size_t bytes_of(DType dtype) { return dtype == DType::bf16 ? 2 : 4; }
template <typename Scalar>
inline constexpr DType kDTypeOf = DType::f32;
template <>
inline constexpr DType kDTypeOf<Bf16> = DType::bf16;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::i32;

// Row-major; the last dimension is contiguous.
struct Shape {
  std::vector<int64_t> sizes;

  Shape() = default;
  Shape(std::initializer_list<int64_t> list) : sizes(list) {}
  explicit Shape(std::vector<int64_t> list) : sizes(std::move(list)) {}
  size_t elements() const {
    size_t n = 1;
    for (int64_t size : sizes) n *= static_cast<size_t>(size);
    return n;
  }
  int operator[](size_t dimension) const { return static_cast<int>(sizes.at(dimension)); }
  int last() const { return static_cast<int>(sizes.back()); }
  int rows() const { return static_cast<int>(elements() / static_cast<size_t>(sizes.back())); }
  bool operator==(const Shape&) const = default;
};

// A range of device memory. `data` is null until the graph is bound to its arena, unless the buffer is outside it
// (parameters, their gradients, KV caches).
struct Buffer {
  std::string name;
  size_t bytes = 0;
  void* data = nullptr;
  bool outside = false;
};

// A graph's record of one tensor. Tensors may share a buffer (in-place ops).
struct TensorRecord {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  Buffer* value = nullptr;
  Buffer* gradient = nullptr;  // null: not needed
};

// A handle, cheap to copy, valid as long as its graph. The empty tensor means "none" (a layer without bias).
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorRecord* record) : record_(record) {}

  explicit operator bool() const { return record_ != nullptr; }
  bool operator==(const Tensor&) const = default;
  TensorRecord* record() const { return record_; }
  const Shape& shape() const { return record_->shape; }
  const std::string& name() const { return record_->name; }

  // Addresses for kernels; null for the empty tensor.
  template <typename Scalar>
  Scalar* data() const {
    if (!record_) return nullptr;
    GLINT_CHECK(record_->dtype == kDTypeOf<Scalar>, record_->name, " is of another dtype");
    return static_cast<Scalar*>(record_->value->data);
  }
  float* f32() const { return data<float>(); }
  int32_t* i32() const { return data<int32_t>(); }
  // In the value's dtype; gradients of parameters are always fp32.
  template <typename Scalar = float>
  Scalar* gradient() const {
    return record_ && record_->gradient ? static_cast<Scalar*>(record_->gradient->data) : nullptr;
  }

 private:
  TensorRecord* record_ = nullptr;
};

}  // namespace glint
