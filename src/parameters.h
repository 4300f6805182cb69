// Parameters, their gradients and the optimizer's moments, each in one flat buffer (fp32; moments also bf16) with the
// same layout: the matrices of layers, then other tensors with weight decay (2-D and more), then the rest: AdamW is one
// call. A model that computes in bf16 also has a flat copy rounded to bf16, which the optimizer updates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "src/memory.h"
#include "src/tensor.h"

namespace glint {

// A tensor as it is named in checkpoints.
struct NamedTensor {
  std::string name;
  Shape shape;
  size_t offset;  // elements into the flat buffers
};

struct Parameter {
  std::string name;  // as in Hugging Face
  Shape shape;
  Shape stored;  // without the rows that pad it: as in checkpoints. Those rows are 0, and so are their gradients
  // Of a weight (out, in) that is several tensors of checkpoints, one behind the other: their names and rows.
  std::vector<std::pair<std::string, int64_t>> parts{};
  bool hidden = false;  // a matrix of a layer: what Muon updates
  size_t offset = 0;    // elements into the flat buffers
  Buffer value, rounded, gradient;

  std::vector<NamedTensor> tensors() const;  // the parts, or the whole
  bool decayed() const { return shape.sizes.size() >= 2; }
  float* data() const { return static_cast<float*>(value.data); }  // on the device
};

class Parameters {
 public:
  explicit Parameters(const Device& device = CpuContext{}, DType dtype = DType::f32) : device_(device), dtype_(dtype) {}

  // Declares a parameter; the address stays valid. Call before allocate().
  // padding: rows that follow those of `shape`.
  Parameter* add(std::string name, Shape shape, int64_t padding = 0);

  // Fixes the offsets in the flat buffers, without memory.
  void lay_out();
  // Lays out and allocates the values (zeroed).
  void allocate();
  // Gradients and moments, for training only; first and second moments for that many elements, or for all, in fp32 or
  // bf16.
  void allocate_training(size_t first = SIZE_MAX, size_t second = SIZE_MAX, DType moments_dtype = DType::f32);

  const Device& device() const { return device_; }
  DType dtype() const { return dtype_; }
  size_t count() const;                          // of the model's parameters, without padding
  size_t elements() const { return elements_; }  // with the padding (zeros) that aligns each tensor to 64 bytes
  size_t hidden_elements() const { return hidden_; }
  size_t decayed_elements() const { return decayed_; }
  float* values() const { return value_at(0); }
  float* value_at(size_t offset) const;  // null before allocate(); see keep_masters() for what a rank keeps
  Bf16* rounded() const { return static_cast<Bf16*>(rounded_.data()); }  // null in fp32
  float* gradients() const { return gradients_.f32(); }
  template <typename Moment>  // float or Bf16, as allocated
  Moment* first_moments() const {
    return static_cast<Moment*>(m_.data());
  }
  template <typename Moment>
  Moment* second_moments() const {
    return static_cast<Moment*>(v_.data());
  }
  size_t bytes() const {  // allocated; training_bytes() in src/optimizer.h predicts it
    return values_.bytes() + rounded_.bytes() + gradients_.bytes() + m_.bytes() + v_.bytes() + masters_.bytes();
  }

  // In bf16 with sharded updates: copies the fp32 weights that this rank updates to masters(), on the device, and frees
  // those of all decayed elements; the model reads their rounded copies.
  void keep_masters(const std::vector<float>& of_own_pieces);
  float* masters() const { return masters_.f32(); }  // null: values() has all weights

  // Rounds the values to bf16, after something other than the optimizer has changed them.
  void refresh_rounded();

  std::deque<Parameter>& all() { return list_; }
  const std::deque<Parameter>& all() const { return list_; }

 private:
  Device device_;
  DType dtype_;
  std::deque<Parameter> list_;
  size_t elements_ = 0, hidden_ = 0, decayed_ = 0;
  size_t first_value_ = 0;  // the element at which values_ begins
  DeviceMemory values_, rounded_, gradients_, m_, v_, masters_;
};

// The host's view of a flat buffer: the buffer itself on a CPU; a copy of a GPU's, which store() writes back.
// Scalar: float, Bf16.
template <typename Scalar>
class HostCopy {
 public:
  HostCopy(const Parameters& parameters, Scalar* flat) : HostCopy(parameters, flat, parameters.elements()) {}
  HostCopy(const Parameters& parameters, Scalar* flat, size_t elements);
  Scalar* data() { return copy_.empty() ? flat_ : copy_.data(); }
  Scalar* of(const Parameter& parameter) { return data() + parameter.offset; }
  void store();

 private:
  const Device& device_;
  Scalar* flat_;
  std::vector<Scalar> copy_;
};

}  // namespace glint
