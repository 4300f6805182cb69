// Parameters, their gradients and the optimizer's moments, each in one flat buffer with the same layout: tensors that
// get weight decay (2-D and more) first, then the rest, so that AdamW is one call.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "src/memory.h"
#include "src/tensor.h"

namespace glint {

struct Parameter {
  std::string name;  // Hugging Face's
  Shape shape;
  size_t offset = 0;  // elements into the flat buffers
  Buffer value, gradient;

  bool decayed() const { return shape.sizes.size() >= 2; }
  float* data() const { return static_cast<float*>(value.data); }
};

class Parameters {
 public:
  // Declares a parameter; the address stays valid. Only before allocate().
  Parameter* add(std::string name, Shape shape);

  // Lays out and allocates the values (zeroed).
  void allocate();
  // Gradients and moments, for training only.
  void allocate_training();

  size_t elements() const { return elements_; }  // with the padding that aligns each tensor to 64 bytes; padding stays 0
  size_t decayed_elements() const { return decayed_; }
  float* values() const { return values_.f32(); }
  float* gradients() const { return gradients_.f32(); }
  float* first_moments() const { return m_.f32(); }
  float* second_moments() const { return v_.f32(); }
  size_t bytes() const { return values_.bytes() + gradients_.bytes() + m_.bytes() + v_.bytes(); }

  std::deque<Parameter>& all() { return list_; }
  const std::deque<Parameter>& all() const { return list_; }

 private:
  std::deque<Parameter> list_;
  size_t elements_ = 0, decayed_ = 0;
  DeviceMemory values_, gradients_, m_, v_;
};

}  // namespace glint
