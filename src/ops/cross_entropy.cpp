#include "kernels/cross_entropy.h"

#include "src/ops.h"

namespace glint {

Tensor cross_entropy(Graph& g, Tensor logits, Tensor targets, float gradient_scale, int V) {
  const CrossEntropyShape shape{logits.shape().rows(), V, logits.shape().last()};
  GLINT_CHECK(0 < V && V <= shape.columns, "V ", V, " of ", shape.columns, " columns");
  GLINT_CHECK(targets.shape().elements() == static_cast<size_t>(shape.rows), "targets and logits differ in rows");
  const Tensor losses = g.tensor("losses", {shape.rows}, DType::f32);
  if (!g.training()) {
    g.record({.name = "cross_entropy",
              .inputs = {logits, targets},
              .outputs = {losses},
              .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
                cross_entropy_forward(ctx, losses.f32(), logits.data<Scalar>(), targets.i32(), shape);
              })});
    return losses;
  }
  g.gradient_in_place(logits);
  g.record({.name = "cross_entropy",
            .inputs = {logits, targets},
            .outputs = {losses},
            .updated = {logits},
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              cross_entropy_forward_backward(ctx, losses.f32(), logits.data<Scalar>(), targets.i32(), gradient_scale,
                                             shape);
            })});
  return losses;
}

}  // namespace glint
