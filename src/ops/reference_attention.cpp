// Attention by its definition, with T x T weights: the oracle for a whole training run. CPU, fp32.
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "src/ops/packed_heads.h"

namespace glint {

Tensor reference_attention(Graph& g, Tensor qkv, AttentionHeads heads, float p) {
  GLINT_REQUIRE(g.options().device.is_cpu() && g.options().dtype == DType::f32,
                "`attention` reference runs on the CPU in fp32 only; use `attention` flash");
  const CpuContext& ctx = std::get<CpuContext>(g.options().device.context());
  const AttentionShape shape = shape_of(qkv, heads);
  const PackedHeads packed(shape);
  const Dropout dropout = g.dropout_site(p, shape.NH);
  const Tensor out = g.tensor("attention", {shape.B, shape.T, shape.NH * shape.HS});
  const Tensor lse = g.tensor("lse", {shape.B, shape.NH, shape.T}, DType::f32);
  const size_t scratch_size = reference_attention_scratch(ctx, shape);
  const Tensor scratch = g.scratch("scratch", scratch_size);
  const Tensor backward_scratch = g.training() ? g.scratch("backward_scratch", scratch_size) : Tensor();
  const DropoutVariant variant = g.options().dropout_variant;
  const bool stores = dropout.on() && variant == DropoutVariant::stored_mask;
  const auto words = static_cast<int64_t>((stored_mask_bytes(shape) + 3) / 4);
  const Tensor mask = stores ? g.tensor("mask", {words}, DType::i32) : Tensor();
  std::vector<Tensor> outputs = {out, lse}, saved = {qkv, out, lse};
  if (stores) outputs.push_back(mask), saved.push_back(mask);
  const auto how = [=] { return ReferenceDropout{variant, reinterpret_cast<uint8_t*>(mask.i32())}; };
  const GradientSink dqkv = g.gradient_into(qkv);
  g.record({.name = "attention",
            .inputs = {qkv},
            .outputs = std::move(outputs),
            .saved = std::move(saved),
            .sinks = {dqkv},
            .scratch = scratch,
            .backward_scratch = backward_scratch,
            .forward =
                [=, &ctx] {
                  const float* x = qkv.f32();
                  reference_attention_forward(ctx,
                                              {.out = unpacked(out.f32(), shape),
                                               .lse = lse.f32(),
                                               .q = packed.q(x),
                                               .k = packed.k(x),
                                               .v = packed.v(x),
                                               .scratch = scratch.f32(),
                                               .shape = shape,
                                               .dropout = dropout},
                                              how());
                },
            .backward =
                [=, &ctx] {
                  const float *x = qkv.f32(), *dout = out.gradient();
                  float* dx = dqkv.data();
                  GLINT_CHECK(dqkv.write() == Write::set, "the packed heads have one user that reads them");
                  reference_attention_backward(ctx,
                                               {.dq = packed.q(dx),
                                                .dk = packed.k(dx),
                                                .dv = packed.v(dx),
                                                .dout = unpacked(dout, shape),
                                                .out = unpacked(out.f32(), shape),
                                                .lse = lse.f32(),
                                                .q = packed.q(x),
                                                .k = packed.k(x),
                                                .v = packed.v(x),
                                                .scratch = backward_scratch.f32(),
                                                .shape = shape,
                                                .dropout = dropout},
                                               how());
                }});
  return out;
}

}  // namespace glint
