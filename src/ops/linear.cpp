#include "kernels/matmul.h"

#include "src/ops.h"

namespace glint {

Tensor linear(Graph& g, Tensor x, Tensor weight, Tensor bias, WeightLayout layout) {
  const bool in_first = layout == WeightLayout::in_out;
  const LinearShape shape{x.shape().rows(), weight.shape()[in_first ? 0 : 1], weight.shape()[in_first ? 1 : 0], layout};
  GLINT_CHECK(x.shape().last() == shape.in, x.name(), " has ", x.shape().last(), " channels, ", weight.name(),
              " takes ", shape.in);
  Shape out_shape = x.shape();
  out_shape.sizes.back() = shape.out;
  const Tensor out = g.tensor("linear", out_shape);
  const GradientSink dx = g.gradient_into(x), dweight = g.gradient_into(weight), dbias = g.gradient_into(bias);
  const auto scratch_size = [&](const auto& ctx) { return bias ? linear_backward_weight_scratch(ctx, shape) : 0; };
  const Tensor scratch = g.training() ? g.scratch_for("scratch", scratch_size) : Tensor();
  g.record({.name = "linear",
            .inputs = {x, weight, bias},
            .outputs = {out},
            .saved = {x, weight},
            .sinks = {dx, dweight, dbias},
            .backward_scratch = scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              linear_forward(ctx, out.data<Scalar>(), x.data<Scalar>(), weight.data<Scalar>(), bias.data<Scalar>(),
                             shape);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar* dout = out.gradient<Scalar>();
              linear_backward_weight(ctx, dweight.data(), dbias.data(), x.data<Scalar>(), dout, scratch.f32(), shape,
                                     dweight.write());
              linear_backward_input(ctx, dx.data<Scalar>(), dout, weight.data<Scalar>(), shape, dx.write());
            }),
            .flops = flops_of(shape),
            .backward_flops = 2 * flops_of(shape)});
  return out;
}

}  // namespace glint
