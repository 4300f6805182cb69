#include "kernels/residual_layernorm.h"

#include "src/ops.h"

namespace glint {

NormedSum residual_layernorm(Graph& g, Tensor x, Tensor y, float p, const Norm& norm) {
  const Tensor weight = norm.weight, bias = norm.bias;
  GLINT_CHECK(x.shape() == y.shape(), x.name(), " and ", y.name(), " differ in shape");
  const ResidualLayerNormShape shape{x.shape()[0], x.shape()[1], x.shape()[2], norm.eps};
  GLINT_CHECK(weight.shape()[0] == shape.C, weight.name(), " has ", weight.shape()[0], " channels, ", x.name(), " ",
              shape.C);
  const int rows = x.shape().rows();
  const Dropout dropout = g.dropout_site(p, 1);
  const Tensor sum = g.tensor("residual", x.shape()), out = g.tensor(norm.rms ? "rmsnorm" : "layernorm", x.shape());
  const Tensor mean = norm.rms ? Tensor() : g.tensor("mean", {rows}, DType::f32);
  const Tensor rstd = g.tensor("rstd", {rows}, DType::f32);
  std::vector<Tensor> outputs = {sum, out, rstd}, saved = {sum, rstd, weight};
  if (mean) outputs.push_back(mean), saved.push_back(mean);
  const auto scratch_size = [&](const auto& ctx) { return residual_layernorm_backward_scratch(ctx, shape); };
  const Tensor scratch = g.training() ? g.scratch_for("scratch", scratch_size) : Tensor();
  g.share_gradient(sum, x);
  const GradientSink dsum = g.gradient_into(sum), dy = g.gradient_into(y), dweight = g.gradient_into(weight),
                     dbias = g.gradient_into(bias);
  g.record({.name = norm.rms ? "residual_rmsnorm" : "residual_layernorm",
            .inputs = {x, y, weight, bias},
            .outputs = outputs,
            .saved = saved,
            .sinks = {dsum, dy, dweight, dbias},
            .backward_scratch = scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              residual_layernorm_forward(ctx, out.data<Scalar>(), sum.data<Scalar>(), mean.f32(), rstd.f32(),
                                         x.data<Scalar>(), y.data<Scalar>(), weight.f32(), bias.f32(), shape, dropout);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              GLINT_CHECK(dsum.write() == Write::add,
                          "the sum needs another user than its layer norm: record two ops instead");
              residual_layernorm_backward(ctx, dsum.data<Scalar>(), dy.data<Scalar>(), dweight.data(), dbias.data(),
                                          out.gradient<Scalar>(), sum.data<Scalar>(), mean.f32(), rstd.f32(),
                                          weight.f32(), scratch.f32(), shape, dropout, dweight.write());
            })});
  return {sum, out};
}

}  // namespace glint
