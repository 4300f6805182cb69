#include "kernels/matmul.h"

#include "src/ops.h"

namespace glint {

Tensor linear(Graph& g, Tensor x, Tensor weight, Tensor bias, WeightLayout layout) {
  const bool in_first = layout == WeightLayout::in_out;
  const LinearShape shape{x.shape().rows(), weight.shape()[in_first ? 0 : 1], weight.shape()[in_first ? 1 : 0], layout};
  GLINT_CHECK(x.shape().last() == shape.in, x.name(), " has ", x.shape().last(), " channels, ", weight.name(), " takes ",
              shape.in);
  Shape out_shape = x.shape();
  out_shape.sizes.back() = shape.out;
  const Tensor out = g.tensor("linear", out_shape);
  const GradientSink dx = g.gradient_into(x), dweight = g.gradient_into(weight), dbias = g.gradient_into(bias);
  g.record({.name = "linear",
            .inputs = {x, weight, bias},
            .outputs = {out},
            .saved = {x, weight},
            .sinks = {dx, dweight, dbias},
            .forward = g.on_device(
                [=](const auto& ctx) { linear_forward(ctx, out.f32(), x.f32(), weight.f32(), bias.f32(), shape); }),
            .backward = g.on_device([=](const auto& ctx) {
              linear_backward_weight(ctx, dweight.data(), dbias.data(), x.f32(), out.gradient(), shape, dweight.write());
              linear_backward_input(ctx, dx.data(), out.gradient(), weight.f32(), shape, dx.write());
            })});
  return out;
}

}  // namespace glint
