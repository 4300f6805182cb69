#include "kernels/rope.h"

#include "src/ops/packed_heads.h"

namespace glint {

void rope(Graph& g, Tensor qkv, AttentionHeads heads, float theta, const int* first_position) {
  GLINT_CHECK(!g.training() || !first_position, "training starts at position 0");
  const AttentionShape packed = shape_of(qkv, heads);
  const RopeShape shape{packed.B, packed.T,      heads.query + heads.key_value, qkv.shape().last(), packed.HS,
                        theta,    first_position};
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
