#include "kernels/gelu.h"

#include "src/ops.h"

namespace glint {

Tensor gelu(Graph& g, Tensor x, Gelu kind) {
  const size_t n = x.shape().elements();
  const Tensor out = g.tensor("gelu", x.shape());
  g.share_gradient(out, x);  // dx is computed in place of dout
  g.record({.name = "gelu",
            .inputs = {x},
            .outputs = {out},
            .saved = {x},
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) { gelu_forward(ctx, out.data<Scalar>(), x.data<Scalar>(), n, kind); }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              gelu_backward(ctx, out.gradient<Scalar>(), out.gradient<Scalar>(), x.data<Scalar>(), n, kind);
            })});
  return out;
}

}  // namespace glint
