#include "kernels/qk_norm.h"

#include "src/ops/packed_heads.h"

namespace glint {

void qk_norm(Graph& g, Tensor qkv, AttentionHeads heads, float eps) {
  const int normed = heads.query + heads.key_value;
  const QkNormShape shape{qkv.shape().rows(), normed, qkv.shape().last(), shape_of(qkv, heads).HS, eps};
  const Tensor rstd = g.tensor("rstd", {shape.rows, normed}, DType::f32);
  const GradientSink dqkv = g.gradient_into(qkv);
  g.record({.name = "qk_norm",
            .inputs = {qkv},
            .outputs = {rstd},
            .updated = {qkv},
            .saved = {qkv, rstd},
            .sinks = {dqkv},
            .forward = g.on_device(
                [=]<typename Scalar>(const auto& ctx) { qk_norm_forward(ctx, qkv.data<Scalar>(), rstd.f32(), shape); }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              GLINT_CHECK(dqkv.write() == Write::add, "attention, recorded later, reads the same packed heads");
              qk_norm_backward(ctx, dqkv.data<Scalar>(), qkv.data<Scalar>(), rstd.f32(), shape);
            })});
}

}  // namespace glint
