#include "src/parameters.h"

#include "kernels/check.h"

namespace glint {

Parameter* Parameters::add(std::string name, Shape shape) {
  GLINT_CHECK(!values_.data(), "parameters are added before they are allocated");
  Parameter parameter;
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  for (Buffer* buffer : {&parameter.value, &parameter.gradient}) {
    buffer->name = parameter.name + (buffer == &parameter.value ? "" : ".gradient");
    buffer->bytes = parameter.shape.elements() * sizeof(float);
    buffer->outside = true;
  }
  return &list_.emplace_back(std::move(parameter));
}

void Parameters::allocate() {
  constexpr size_t kAlign = 64 / sizeof(float);
  elements_ = 0;
  for (bool decayed : {true, false}) {
    for (Parameter& parameter : list_) {
      if (parameter.decayed() != decayed) continue;
      parameter.offset = elements_;
      elements_ += (parameter.shape.elements() + kAlign - 1) / kAlign * kAlign;
    }
    if (decayed) decayed_ = elements_;
  }
  values_ = DeviceMemory(elements_ * sizeof(float), "the parameters");
  for (Parameter& parameter : list_) parameter.value.data = values() + parameter.offset;
}

void Parameters::allocate_training() {
  GLINT_CHECK(values_.data(), "allocate() comes first");
  if (gradients_.data()) return;
  const size_t bytes = elements_ * sizeof(float);
  gradients_ = DeviceMemory(bytes, "the gradients");
  m_ = DeviceMemory(bytes, "the first moments of AdamW");
  v_ = DeviceMemory(bytes, "the second moments of AdamW");
  for (Parameter& parameter : list_) parameter.gradient.data = gradients() + parameter.offset;
}

}  // namespace glint
