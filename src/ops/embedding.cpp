#include "kernels/embedding.h"

#include "src/ops.h"

namespace glint {

Tensor embedding(Graph& g, Tensor tokens, Tensor wte, Tensor wpe, float p, const int* first_position) {
  const int B = tokens.shape()[0], T = tokens.shape()[1], V = wte.shape()[0], C = wte.shape()[1];
  GLINT_CHECK(!wpe || (T <= wpe.shape()[0] && C == wpe.shape()[1]), "T ", T, " is more than wpe has, or C ", C,
              " is not its width");
  GLINT_CHECK(!g.training() || !first_position, "training starts at position 0");
  const EmbeddingShape shape{B, T, C, V, first_position};
  const Dropout dropout = g.dropout_site(p, 1);
  const Tensor out = g.tensor("embedding", {B, T, C});
  const auto scratch_size = [&](const auto& ctx) { return embedding_backward_scratch(ctx, shape); };
  const Tensor scratch = g.training() ? g.scratch_for("scratch", scratch_size) : Tensor();
  const GradientSink dwte = g.gradient_into(wte), dwpe = g.gradient_into(wpe);
  g.record({.name = "embedding",
            .inputs = {tokens, wte, wpe},
            .outputs = {out},
            .saved = {tokens},
            .sinks = {dwte, dwpe},
            .backward_scratch = scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              embedding_forward(ctx, out.data<Scalar>(), tokens.i32(), wte.data<Scalar>(), wpe.data<Scalar>(), shape,
                                dropout);
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              embedding_backward(ctx, dwte.data(), dwpe.data(), out.gradient<Scalar>(), tokens.i32(), scratch.f32(),
                                 shape, dropout, dwte.write(), dwpe.write());
            }),
            // Reads one row of wte and writes one row of out per token.
            .forward_bytes = 2.0 * B * T * C * static_cast<double>(bytes_of(out.record()->dtype))});
  return out;
}

}  // namespace glint
