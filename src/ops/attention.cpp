#include "kernels/attention.h"

#include <cmath>

#include "kernels/kv_cache.h"
#include "src/ops.h"

namespace glint {

namespace {

// The three parts of a packed (B, T, (NH + 2 NKV) * HS) row.
struct PackedHeads {
  int T, NH, NKV, HS;

  int64_t width() const { return static_cast<int64_t>(NH + 2 * NKV) * HS; }
  template <typename Scalar>
  HeadView<Scalar> part(Scalar* base, int first_head) const {
    return {base + static_cast<int64_t>(first_head) * HS, T * width(), width(), HS};
  }
  template <typename Scalar>
  HeadView<Scalar> q(Scalar* base) const { return part(base, 0); }
  template <typename Scalar>
  HeadView<Scalar> k(Scalar* base) const { return part(base, NH); }
  template <typename Scalar>
  HeadView<Scalar> v(Scalar* base) const { return part(base, NH + NKV); }
};

AttentionShape shape_of(Tensor qkv, AttentionHeads heads) {
  const int B = qkv.shape()[0], T = qkv.shape()[1], width = qkv.shape()[2];
  const int HS = width / (heads.query + 2 * heads.key_value);
  GLINT_CHECK(HS * (heads.query + 2 * heads.key_value) == width, qkv.name(), " has width ", width);
  return {B, T, T, heads.query, heads.key_value, HS, true, 1.0f / std::sqrt(static_cast<float>(HS))};
}

// A contiguous (B, T, NH, HS) array.
template <typename Scalar>
HeadView<Scalar> unpacked(Scalar* data, const AttentionShape& s) {
  const int64_t row = static_cast<int64_t>(s.NH) * s.HS;
  return {data, s.T * row, row, s.HS};
}

const float* constant(Tensor x) { return x.f32(); }

}  // namespace

Tensor attention(Graph& g, Tensor qkv, AttentionHeads heads, float p, AttentionKind kind) {
  const AttentionShape shape = shape_of(qkv, heads);
  const PackedHeads packed{shape.T, shape.NH, shape.NKV, shape.HS};
  const Dropout dropout = g.dropout_site(p, shape.NH);
  const bool plain = kind == AttentionKind::reference;
  const Tensor out = g.tensor("attention", {shape.B, shape.T, shape.NH * shape.HS});
  const Tensor lse = g.tensor("lse", {shape.B, shape.NH, shape.T});
  const size_t plain_scratch = plain ? reference_attention_scratch(g.cpu(), shape) : 0;
  const Tensor scratch = g.scratch("scratch", plain_scratch);
  const Tensor backward_scratch =
      g.training() ? g.scratch("backward_scratch", plain ? plain_scratch : attention_backward_scratch(g.cpu(), shape)) : Tensor();
  const GradientSink dqkv = g.gradient_into(qkv);
  g.record({.name = "attention",
            .inputs = {qkv},
            .outputs = {out, lse},
            .saved = {qkv, out, lse},
            .sinks = {dqkv},
            .scratch = scratch,
            .backward_scratch = backward_scratch,
            .forward = g.on_device([=](const auto& ctx) {
              const float* x = constant(qkv);
              if (plain)
                reference_attention_forward(ctx, unpacked(out.f32(), shape), lse.f32(), packed.q(x), packed.k(x), packed.v(x),
                                            scratch.f32(), shape, dropout);
              else
                attention_forward(ctx, unpacked(out.f32(), shape), lse.f32(), packed.q(x), packed.k(x), packed.v(x), shape,
                                  dropout);
            }),
            .backward = g.on_device([=](const auto& ctx) {
              const float* x = constant(qkv);
              const float* dout = out.gradient();
              float* dx = dqkv.data();
              GLINT_CHECK(dqkv.write() == Write::set, "the packed heads have one user");
              const auto call = [&](auto backward) {
                backward(packed.q(dx), packed.k(dx), packed.v(dx), unpacked(dout, shape), unpacked(constant(out), shape),
                         lse.f32(), packed.q(x), packed.k(x), packed.v(x), backward_scratch.f32());
              };
              if (plain)
                call([&](auto... a) { reference_attention_backward(ctx, a..., shape, dropout); });
              else
                call([&](auto... a) { attention_backward(ctx, a..., shape, dropout); });
            })});
  return out;
}

Tensor cached_attention(Graph& g, Tensor qkv, Tensor cache, AttentionHeads heads, const int* first) {
  GLINT_CHECK(!g.training(), "a KV cache is for generation");
  const AttentionShape shape = shape_of(qkv, heads);
  GLINT_CHECK(shape.B == 1, "a KV cache serves one sequence");
  const PackedHeads packed{shape.T, shape.NH, shape.NKV, shape.HS};
  const int capacity = cache.shape()[1];
  const int64_t row = static_cast<int64_t>(shape.NKV) * shape.HS;
  const Tensor out = g.tensor("attention", {1, shape.T, shape.NH * shape.HS});
  g.record({.name = "attention",
            .inputs = {qkv, cache},
            .outputs = {out},
            .forward = g.on_device([=](const auto& ctx) {
              const float* x = constant(qkv);
              kv_cache_append(ctx, cache.f32(), *first, packed.k(x), packed.v(x), {shape.T, shape.NKV, shape.HS, capacity});
              AttentionShape now = shape;
              now.S = *first + shape.T;
              const HeadView<const float> k{constant(cache), 0, row, shape.HS}, v{k.data + capacity * row, 0, row, shape.HS};
              attention_forward(ctx, unpacked(out.f32(), shape), nullptr, packed.q(x), k, v, now, Dropout{});
            })});
  return out;
}

}  // namespace glint
