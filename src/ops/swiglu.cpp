#include "kernels/swiglu.h"

#include "src/ops.h"

namespace glint {

Tensor swiglu(Graph& g, Tensor packed) {
  const int rows = packed.shape().rows(), H = packed.shape().last() / 2;
  GLINT_CHECK(2 * H == packed.shape().last(), packed.name(), " has an odd width, ", packed.shape().last());
  Shape shape = packed.shape();
  shape.sizes.back() = H;
  const Tensor out = g.tensor("swiglu", shape);
  g.gradient_in_place(packed);
  const GradientSink dpacked = g.gradient_into(packed);
  g.record({.name = "swiglu",
            .inputs = {packed},
            .outputs = {out},
            .saved = {packed},
            .sinks = {dpacked},
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              swiglu_forward(ctx, out.data<Scalar>(), packed.data<Scalar>(), rows, H);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              swiglu_backward(ctx, dpacked.data<Scalar>(), out.gradient<Scalar>(), rows, H);
            })});
  return out;
}

}  // namespace glint
