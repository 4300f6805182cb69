// gelu(x W + b) V + c: two nodes. The gradient of the GELU's output is never stored: backward of the second node
// computes the gradient of the GELU's input directly.
#include "kernels/linear_gelu.h"
#include "src/ops.h"

namespace glint {

namespace {

LinearShape shape_of(Tensor x, Tensor weight) { return {x.shape().rows(), weight.shape()[0], weight.shape()[1]}; }

Tensor bias_scratch(Graph& g, Tensor bias, const LinearShape& shape) {
  const auto size = [&](const auto& ctx) { return bias ? linear_backward_weight_scratch(ctx, shape) : 0; };
  return g.training() ? g.scratch_for("scratch", size) : Tensor();
}

}  // namespace

Tensor feed_forward(Graph& g, Tensor x, Linear in, Linear out, Gelu kind) {
  const LinearShape widen = shape_of(x, in.weight);
  GLINT_CHECK(x.shape().last() == widen.in, x.name(), " has ", x.shape().last(), " channels, ", in.weight.name(),
              " takes ", widen.in);
  Shape wide_shape = x.shape();
  wide_shape.sizes.back() = widen.out;
  const Tensor pre = g.tensor("pre_gelu", wide_shape), wide = g.tensor("gelu", wide_shape);
  const GradientSink dx = g.gradient_into(x), dweight_in = g.gradient_into(in.weight),
                     dbias_in = g.gradient_into(in.bias);
  const Tensor scratch_in = bias_scratch(g, in.bias, widen);
  g.record({.name = "linear_gelu",
            .inputs = {x, in.weight, in.bias},
            .outputs = {pre, wide},
            .saved = {x, in.weight},
            .sinks = {dx, dweight_in, dbias_in},
            .backward_scratch = scratch_in,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              linear_gelu_forward(ctx, wide.data<Scalar>(), pre.data<Scalar>(), x.data<Scalar>(),
                                  in.weight.data<Scalar>(), in.bias.data<Scalar>(), widen, kind);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar* dpre = pre.gradient<Scalar>();
              linear_backward_weight(ctx, dweight_in.data(), dbias_in.data(), x.data<Scalar>(), dpre, scratch_in.f32(),
                                     widen, dweight_in.write());
              linear_backward_input(ctx, dx.data<Scalar>(), dpre, in.weight.data<Scalar>(), widen, dx.write());
            }),
            .flops = flops_of(widen),
            .backward_flops = 2 * flops_of(widen)});

  const LinearShape narrow = shape_of(wide, out.weight);
  GLINT_CHECK(widen.out == narrow.in, in.weight.name(), " gives ", widen.out, " channels, ", out.weight.name(),
              " takes ", narrow.in);
  Shape out_shape = x.shape();
  out_shape.sizes.back() = narrow.out;
  const Tensor result = g.tensor("linear", out_shape);
  const GradientSink dpre = g.gradient_into(pre), dweight_out = g.gradient_into(out.weight),
                     dbias_out = g.gradient_into(out.bias);
  const Tensor scratch_out = bias_scratch(g, out.bias, narrow);
  g.record({.name = "linear",
            .inputs = {wide, out.weight, out.bias},
            .outputs = {result},
            .saved = {wide, pre, out.weight},
            .sinks = {dpre, dweight_out, dbias_out},
            .backward_scratch = scratch_out,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              linear_forward(ctx, result.data<Scalar>(), wide.data<Scalar>(), out.weight.data<Scalar>(),
                             out.bias.data<Scalar>(), narrow);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar* dout = result.gradient<Scalar>();
              linear_backward_weight(ctx, dweight_out.data(), dbias_out.data(), wide.data<Scalar>(), dout,
                                     scratch_out.f32(), narrow, dweight_out.write());
              linear_gelu_backward_input(ctx, dpre.data<Scalar>(), dout, out.weight.data<Scalar>(), pre.data<Scalar>(),
                                         narrow, kind);
            }),
            .flops = flops_of(narrow),
            .backward_flops = 2 * flops_of(narrow)});
  return result;
}

}  // namespace glint
