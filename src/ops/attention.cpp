#include "kernels/attention.h"

#include "kernels/decode_attention.h"
#include "kernels/kv_cache.h"
#include "src/ops/packed_heads.h"

namespace glint {

Tensor attention(Graph& g, Tensor qkv, AttentionHeads heads, float p, AttentionKind kind) {
  if (kind == AttentionKind::reference) return reference_attention(g, qkv, heads, p);
  GLINT_REQUIRE(kind == AttentionKind::flash || !g.options().device.is_cpu(),
                "`attention` flash-sm80 names kernels for GPUs; use `attention` flash");
  GLINT_CHECK(g.options().dropout_variant == DropoutVariant::flash, "the fused kernels have FlashAttention's dropout");
  const AttentionShape shape = shape_of(qkv, heads);
  const PackedHeads packed(shape);
  const Dropout dropout = g.dropout_site(p, shape.NH);
  const Tensor out = g.tensor("attention", {shape.B, shape.T, shape.NH * shape.HS});
  const Tensor lse = g.tensor("lse", {shape.B, shape.NH, shape.T}, DType::f32);
  const Tensor scratch = g.scratch_for(
      "scratch", [&](const auto& ctx) { return attention_forward_scratch(with_kernels(ctx, kind), shape); });
  const Tensor backward_scratch =
      g.training()
          ? g.scratch_for("backward_scratch",
                          [&](const auto& ctx) { return attention_backward_scratch(with_kernels(ctx, kind), shape); })
          : Tensor();
  const GradientSink dqkv = g.gradient_into(qkv);
  g.record({.name = "attention",
            .inputs = {qkv},
            .outputs = {out, lse},
            .saved = {qkv, out, lse},
            .sinks = {dqkv},
            .scratch = scratch,
            .backward_scratch = backward_scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar* x = qkv.data<Scalar>();
              attention_forward(with_kernels(ctx, kind),
                                AttentionForward<Scalar>{.out = unpacked(out.data<Scalar>(), shape),
                                                         .lse = lse.f32(),
                                                         .q = packed.q(x),
                                                         .k = packed.k(x),
                                                         .v = packed.v(x),
                                                         .scratch = scratch.f32(),
                                                         .shape = shape,
                                                         .dropout = dropout});
            }),
            .backward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar *x = qkv.data<Scalar>(), *dout = out.gradient<Scalar>();
              Scalar* dx = dqkv.data<Scalar>();
              GLINT_CHECK(dqkv.write() == Write::set, "the packed heads have one user that reads them");
              attention_backward(with_kernels(ctx, kind),
                                 AttentionBackward<Scalar>{.dq = packed.q(dx),
                                                           .dk = packed.k(dx),
                                                           .dv = packed.v(dx),
                                                           .dout = unpacked(dout, shape),
                                                           .out = unpacked(out.data<Scalar>(), shape),
                                                           .lse = lse.f32(),
                                                           .q = packed.q(x),
                                                           .k = packed.k(x),
                                                           .v = packed.v(x),
                                                           .scratch = backward_scratch.f32(),
                                                           .shape = shape,
                                                           .dropout = dropout});
            }),
            .flops = flops_of(shape),
            .backward_flops = 2.5 * flops_of(shape)});
  return out;
}

namespace {

Tensor decode_attention(Graph& g, Tensor qkv, Tensor cache, const AttentionShape& shape, const int* position) {
  GLINT_CHECK(shape.T == 1 && shape.B == cache.shape()[0], "B ", shape.B, ", T ", shape.T, ", a cache of ",
              cache.shape()[0], " sequences");
  const PackedHeads packed(shape);
  const int capacity = cache.shape()[2];
  const Tensor out = g.tensor("attention", {shape.B, 1, shape.NH * shape.HS});
  const Tensor scratch =
      g.scratch_for("scratch", [&](const auto& ctx) { return decode_attention_scratch(ctx, shape, capacity); });
  g.record({.name = "attention",
            .inputs = {qkv, cache},
            .outputs = {out},
            .scratch = scratch,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
              const Scalar* x = qkv.data<Scalar>();
              decode_attention(ctx, DecodeAttention<Scalar>{.out = unpacked(out.data<Scalar>(), shape),
                                                            .q = packed.q(x),
                                                            .k = packed.k(x),
                                                            .v = packed.v(x),
                                                            .cache = cache.data<Scalar>(),
                                                            .position = position,
                                                            .scratch = scratch.f32(),
                                                            .shape = shape,
                                                            .capacity = capacity});
            })});
  return out;
}

}  // namespace

Tensor cached_attention(Graph& g, Tensor qkv, Tensor cache, AttentionHeads heads, const CachePlace& place) {
  GLINT_CHECK(!g.training(), "a KV cache is for generation");
  const AttentionShape shape = shape_of(qkv, heads);
  if (!place.sequence) return decode_attention(g, qkv, cache, shape, place.first_on_device);
  GLINT_CHECK(shape.B == 1, "these are tokens of one sequence");
  const PackedHeads packed(shape);
  const int capacity = cache.shape()[2];
  const int64_t row = static_cast<int64_t>(shape.NKV) * shape.HS;
  const Tensor out = g.tensor("attention", {1, shape.T, shape.NH * shape.HS});
  const Tensor scratch =
      g.scratch_for("scratch", [&](const auto& ctx) { return attention_forward_scratch(ctx, shape); });
  g.record(
      {.name = "attention",
       .inputs = {qkv, cache},
       .outputs = {out},
       .scratch = scratch,
       .forward = g.on_device([=]<typename Scalar>(const auto& ctx) {
         const Scalar* x = qkv.data<Scalar>();
         Scalar* own = cache.data<Scalar>() + int64_t{*place.sequence} * 2 * capacity * row;
         kv_cache_append(ctx, own, *place.first, packed.k(x), packed.v(x), {shape.T, shape.NKV, shape.HS, capacity});
         AttentionShape now = shape;
         now.S = *place.first + shape.T;
         const HeadView<const Scalar> k{own, 0, row, shape.HS}, v{own + capacity * row, 0, row, shape.HS};
         attention_forward(ctx, AttentionForward<Scalar>{.out = unpacked(out.data<Scalar>(), shape),
                                                         .q = packed.q(x),
                                                         .k = k,
                                                         .v = v,
                                                         .scratch = scratch.f32(),
                                                         .shape = now});
       })});
  return out;
}

}  // namespace glint
