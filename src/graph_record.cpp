// Recording: the tensors, sinks and nodes of ops.
#include "src/graph.h"

namespace glint {

namespace {
const bool kNever = false;
}

Buffer* Graph::new_buffer(const std::string& name, size_t bytes, bool outside) {
  return &buffers_.emplace_back(Buffer{name, bytes, nullptr, outside});
}

Tensor Graph::tensor(const std::string& name, Shape shape, DType dtype) {
  GLINT_CHECK(schedule_.empty(), "the graph is already planned");
  const std::string full = scope_.empty() ? name : scope_ + "." + name;
  Buffer* buffer = new_buffer(full, shape.elements() * bytes_of(dtype), false);
  return Tensor(&tensors_.emplace_back(TensorRecord{full, std::move(shape), dtype, buffer, nullptr}));
}

Tensor Graph::scratch(const std::string& name, size_t floats) {
  return floats ? tensor(name, {static_cast<int64_t>(floats)}, DType::f32) : Tensor();
}

Tensor Graph::input(const std::string& name, Shape shape, DType dtype) {
  inputs_.push_back(tensor(name, std::move(shape), dtype));
  return inputs_.back();
}

Tensor Graph::outside(const std::string& name, Shape shape, DType dtype, void* data) {
  Buffer* buffer = new_buffer(name, shape.elements() * bytes_of(dtype), true);
  buffer->data = data;
  return Tensor(&tensors_.emplace_back(TensorRecord{name, std::move(shape), dtype, buffer, nullptr}));
}

Tensor Graph::parameter_tensor(Parameter* parameter, DType dtype, Buffer* value) {
  Buffer* gradient = options_.training ? &parameter->gradient : nullptr;
  return Tensor(&tensors_.emplace_back(TensorRecord{parameter->name, parameter->shape, dtype, value, gradient}));
}

Tensor Graph::parameter(Parameter* parameter) {
  if (!parameter) return {};
  Tensor& known = parameters_[parameter];
  if (!known) known = parameter_tensor(parameter, DType::f32, &parameter->value);
  return known;
}

Tensor Graph::weight(Parameter* parameter) {
  if (!parameter || options_.dtype == DType::f32) return this->parameter(parameter);
  Tensor& known = weights_[parameter];
  if (!known) known = parameter_tensor(parameter, options_.dtype, &parameter->rounded);
  return known;
}

Buffer* Graph::gradient_buffer(Tensor x) {
  TensorRecord* record = x.record();
  if (!record->gradient) record->gradient = new_buffer(record->name + ".gradient", record->value->bytes, false);
  return record->gradient;
}

GradientSink Graph::gradient_into(Tensor x) {
  GradientSink sink;
  if (!x || !options_.training) return sink;
  Buffer* buffer = gradient_buffer(x);
  sink.state_ = &sinks_.emplace_back(GradientSink::State{buffer, "gradient of " + x.name(), false,
                                                         buffer->outside ? &accumulate_ : &kNever, x.shape().elements(),
                                                         buffer->outside ? DType::f32 : x.record()->dtype});
  return sink;
}

void Graph::share_gradient(Tensor out, Tensor x) {
  if (!options_.training) return;
  GLINT_CHECK(!out.record()->gradient, out.name(), " already has a gradient");
  GLINT_CHECK(out.shape().elements() == x.shape().elements(), out.name(), " and ", x.name(), " differ in size");
  out.record()->gradient = gradient_buffer(x);
}

void Graph::gradient_in_place(Tensor x) {
  if (!options_.training) return;
  GLINT_CHECK(!x.record()->gradient, x.name(), " already has a gradient");
  x.record()->gradient = x.record()->value;
}

Dropout Graph::dropout_site(float p, int heads) {
  if (!options_.training || p == 0.0f) return {};
  const Dropout site(p, options_.rng, offsets_);
  offsets_ += dropout_offsets(static_cast<uint64_t>(options_.global_batch), static_cast<uint64_t>(heads));
  return site;
}

void Graph::record(Node node) {
  GLINT_CHECK(schedule_.empty(), "the graph is already planned");
  node.segment = segment_;
  if (!options_.training) {
    node.backward = nullptr;
    node.saved.clear();
  }
  nodes_.push_back(std::move(node));
}

}  // namespace glint
