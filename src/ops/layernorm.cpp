#include "kernels/layernorm.h"

#include "src/ops.h"

namespace glint {

Tensor layernorm(Graph& g, Tensor x, const Norm& norm) {
  const Tensor weight = norm.weight, bias = norm.bias;
  const LayerNormShape shape{x.shape().rows(), x.shape().last(), norm.eps};
  GLINT_CHECK(weight.shape()[0] == shape.C, weight.name(), " has ", weight.shape()[0], " channels, ", x.name(), " ",
              shape.C);
  const Tensor out = g.tensor(norm.rms ? "rmsnorm" : "layernorm", x.shape());
  const Tensor mean = norm.rms ? Tensor() : g.tensor("mean", {shape.rows}, DType::f32);
  const Tensor rstd = g.tensor("rstd", {shape.rows}, DType::f32);
  std::vector<Tensor> outputs = {out, rstd}, saved = {x, rstd, weight};
  if (mean) outputs.push_back(mean), saved.push_back(mean);
  const auto scratch_size = [&](const auto& ctx) { return layernorm_backward_scratch(ctx, shape); };
  const Tensor scratch = g.training() ? g.scratch_for("scratch", scratch_size) : Tensor();
  const GradientSink dx = g.gradient_into(x), dweight = g.gradient_into(weight), dbias = g.gradient_into(bias);
  g.record({.name = norm.rms ? "rmsnorm" : "layernorm",
            .inputs = {x, weight, bias},
            .outputs = outputs,
            .saved = saved,
            .sinks = {dx, dweight, dbias},
            .backward_scratch = scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              layernorm_forward(ctx, out.data<Scalar>(), mean.f32(), rstd.f32(), x.data<Scalar>(), weight.f32(),
                                bias.f32(), shape);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              layernorm_backward(ctx, dx.data<Scalar>(), dweight.data(), dbias.data(), out.gradient<Scalar>(),
                                 x.data<Scalar>(), mean.f32(), rstd.f32(), weight.f32(), scratch.f32(), shape,
                                 dx.write(), dweight.write());
            })});
  return out;
}

}  // namespace glint
