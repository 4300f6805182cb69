#include "kernels/rope.h"

#include "src/ops.h"

namespace glint {

void rope(Graph& g, Tensor qkv, AttentionHeads heads, float theta, const int* first_position) {
  GLINT_CHECK(!g.training() || !first_position, "training starts at position 0");
  const int stride = qkv.shape().last(), HS = stride / (heads.query + 2 * heads.key_value);
  const RopeShape shape{qkv.shape()[0], qkv.shape()[1], heads.query + heads.key_value, stride, HS,
                        theta,          first_position};
  const GradientSink dqkv = g.gradient_into(qkv);
  g.record(
      {.name = "rope",
       .inputs = {qkv},
       .updated = {qkv},
       .sinks = {dqkv},
       .forward = g.on_device([=]<typename Scalar>(const auto& ctx) { rope_forward(ctx, qkv.data<Scalar>(), shape); }),
       .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
         GLINT_CHECK(dqkv.write() == Write::add, "attention, recorded later, reads the same packed heads");
         rope_backward(ctx, dqkv.data<Scalar>(), shape);
       })});
}

}  // namespace glint
