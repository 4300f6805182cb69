#include "kernels/residual.h"

#include "src/ops.h"

namespace glint {

Tensor residual(Graph& g, Tensor x, Tensor y, float p) {
  GLINT_CHECK(x.shape() == y.shape(), x.name(), " and ", y.name(), " differ in shape");
  const ResidualShape shape{x.shape()[0], x.shape()[1], x.shape()[2]};
  const Dropout dropout = g.dropout_site(p, 1);
  const Tensor out = g.tensor("residual", x.shape());
  g.share_gradient(out, x);
  const GradientSink dy = g.gradient_into(y);
  g.record({.name = "residual",
            .inputs = {x, y},
            .outputs = {out},
            .sinks = {dy},
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              residual_dropout_forward(ctx, out.data<Scalar>(), x.data<Scalar>(), y.data<Scalar>(), shape, dropout);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              residual_dropout_backward(ctx, dy.data<Scalar>(), out.gradient<Scalar>(), shape, dropout);
            })});
  return out;
}

}  // namespace glint
