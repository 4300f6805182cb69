#include "src/parameters.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/convert.h"

namespace glint {

std::vector<NamedTensor> Parameter::tensors() const {
  if (parts.empty()) return {{name, stored, offset}};
  std::vector<NamedTensor> tensors;
  size_t at = offset;
  for (const auto& [part, rows] : parts) {
    tensors.push_back({part, {rows, shape.last()}, at});
    at += tensors.back().shape.elements();
  }
  GLINT_CHECK(at == offset + shape.elements(), name, "'s parts have other rows");
  return tensors;
}

Parameter* Parameters::add(std::string name, Shape shape, int64_t padding) {
  GLINT_CHECK(!values_.data(), "parameters are added before they are allocated");
  Parameter parameter;
  parameter.name = std::move(name);
  parameter.shape = parameter.stored = std::move(shape);
  parameter.shape.sizes.front() += padding;
  const size_t elements = parameter.shape.elements();
  parameter.value = {parameter.name, elements * sizeof(float), nullptr, true};
  parameter.rounded = {parameter.name, elements * sizeof(Bf16), nullptr, true};
  parameter.gradient = {parameter.name + ".gradient", elements * sizeof(float), nullptr, true};
  return &list_.emplace_back(std::move(parameter));
}

size_t Parameters::count() const {
  size_t count = 0;
  for (const Parameter& parameter : list_) count += parameter.stored.elements();
  return count;
}

void Parameters::lay_out() {
  constexpr size_t kAlign = 64 / sizeof(float);
  elements_ = 0;
  const auto place = [&](bool hidden, bool decayed) {
    for (Parameter& parameter : list_) {
      if (parameter.hidden != hidden || parameter.decayed() != decayed) continue;
      parameter.offset = elements_;
      elements_ += (parameter.shape.elements() + kAlign - 1) / kAlign * kAlign;
    }
    return elements_;
  };
  hidden_ = place(true, true);
  decayed_ = place(false, true);
  place(false, false);
}

void Parameters::allocate() {
  lay_out();
  values_ = DeviceMemory(elements_ * sizeof(float), "the parameters", device_);
  if (dtype_ == DType::bf16) rounded_ = DeviceMemory(elements_ * sizeof(Bf16), "the parameters in bf16", device_);
  for (Parameter& parameter : list_) {
    parameter.value.data = values() + parameter.offset;
    if (rounded()) parameter.rounded.data = rounded() + parameter.offset;
  }
}

void Parameters::allocate_training(size_t first, size_t second, DType moments_dtype) {
  GLINT_CHECK(values_.data(), "allocate() comes first");
  if (gradients_.data()) return;
  const size_t bytes = elements_ * sizeof(float);
  gradients_ = DeviceMemory(bytes, "the gradients", device_);
  const auto moments = [&](size_t elements, const char* what) {
    return DeviceMemory(std::min(elements, elements_) * bytes_of(moments_dtype), what, device_);
  };
  m_ = moments(first, "the optimizer's first moments");
  v_ = moments(second, "the optimizer's second moments");
  for (Parameter& parameter : list_) parameter.gradient.data = gradients() + parameter.offset;
}

float* Parameters::value_at(size_t offset) const {
  if (!values_.data()) return nullptr;
  GLINT_CHECK(offset >= first_value_, "the value of element ", offset, " is kept by other ranks");
  return values_.f32() + (offset - first_value_);
}

void Parameters::keep_masters(const std::vector<float>& of_own_pieces) {
  GLINT_CHECK(rounded() && first_value_ == 0, "masters are set once, in bf16");
  masters_ = DeviceMemory(std::max<size_t>(1, of_own_pieces.size()) * sizeof(float),
                          "the weights that this rank updates", device_);
  DeviceMemory rest(std::max<size_t>(1, elements_ - decayed_) * sizeof(float), "the parameters kept in fp32", device_);
  HostCopy values(*this, value_at(0));
  device_.visit([&](const auto& ctx) {
    copy_to_device(ctx, masters_.data(), of_own_pieces.data(), of_own_pieces.size() * sizeof(float));
    copy_to_device(ctx, rest.data(), values.data() + decayed_, (elements_ - decayed_) * sizeof(float));
  });
  values_ = std::move(rest);
  first_value_ = decayed_;
  for (Parameter& parameter : list_) parameter.value.data = parameter.decayed() ? nullptr : value_at(parameter.offset);
}

void Parameters::refresh_rounded() {
  if (!rounded()) return;
  device_.visit([&](const auto& ctx) { convert(ctx, rounded(), values(), elements_); });
}

template <typename Scalar>
HostCopy<Scalar>::HostCopy(const Parameters& parameters, Scalar* flat, size_t elements)
    : device_(parameters.device()), flat_(flat) {
  if (device_.is_cpu()) return;
  copy_.resize(elements);
  device_.visit([&](const auto& ctx) { copy_to_host(ctx, copy_.data(), flat_, copy_.size() * sizeof(Scalar)); });
}

template <typename Scalar>
void HostCopy<Scalar>::store() {
  if (copy_.empty()) return;
  device_.visit([&](const auto& ctx) { copy_to_device(ctx, flat_, copy_.data(), copy_.size() * sizeof(Scalar)); });
}

template class HostCopy<float>;
template class HostCopy<Bf16>;

}  // namespace glint
