// Attention on an NVIDIA GPU: checks of what is asked, choice of the kernels. The kernels are in attention/.
#include "kernels/attention.h"

#include <cstdint>

#include "kernels/attention_check.h"
#include "kernels/cuda/attention/arguments.h"

namespace glint {
namespace attention {
namespace {

template <typename Scalar>
void check_view(const char* name, const HeadView<Scalar>& view) {
  constexpr int kElements = 16 / sizeof(Scalar);  // 16 bytes are copied at a time
  GLINT_CHECK(view.data && reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.batch_stride % kElements == 0 &&
                  view.token_stride % kElements == 0 && view.head_stride % kElements == 0,
              name, " has to begin at, and step by, multiples of 16 bytes; its strides are ", view.batch_stride, ", ",
              view.token_stride, ", ", view.head_stride);
}

void check_shape(const AttentionShape& shape, const Dropout& dropout) {
  check_attention(shape, dropout);
  GLINT_CHECK(shape.HS <= 128, "HS ", shape.HS, ": the CUDA kernels have head sizes up to 128");
  GLINT_CHECK(shape.NH <= 65535 && shape.B <= 65535, "NH ", shape.NH, ", B ", shape.B, ": a CUDA grid ends at 65535");
  GLINT_CHECK(shape.scale > 0.0f, "scale ", shape.scale);
}

DropoutRule rule_of(const Dropout& dropout) {
  if (!dropout.on()) return {nullptr, 0, 255, 1.0f};
  const KeepRule rule = keep_rule(dropout.p);
  return {dropout.rng, dropout.site, rule.threshold, rule.scale};
}

// Calls f with the head size of the kernels that HS channels are padded to.
template <typename F>
void with_head_size(int HS, F&& f) {
  if (HS <= 32) f.template operator()<32>();
  else if (HS <= 64) f.template operator()<64>();
  else if (HS <= 96) f.template operator()<96>();
  else f.template operator()<128>();
}

}  // namespace

}  // namespace attention

void attention_forward(const CudaContext& ctx, HeadView<Bf16> out, float* lse, HeadView<const Bf16> q,
                       HeadView<const Bf16> k, HeadView<const Bf16> v, const AttentionShape& shape,
                       const Dropout& dropout) {
  using namespace attention;
  check_shape(shape, dropout);
  check_view("out", out), check_view("q", q), check_view("k", k), check_view("v", v);
  const ForwardArguments<Bf16> a{q, k, v, out, lse, shape, rule_of(dropout)};
  with_head_size(shape.HS, [&]<int kHS>() { launch_forward<kHS>(ctx, a); });
}

void attention_forward(const CudaContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                       HeadView<const float> k, HeadView<const float> v, const AttentionShape& shape,
                       const Dropout& dropout) {
  using namespace attention;
  check_shape(shape, dropout);
  launch_forward_fp32(ctx, {q, k, v, out, lse, shape, rule_of(dropout)});
}

size_t attention_backward_scratch(const CudaContext&, const AttentionShape& shape) {
  return static_cast<size_t>(shape.B) * shape.NH * shape.T;  // D
}

void attention_backward(const CudaContext& ctx, HeadView<Bf16> dq, HeadView<Bf16> dk, HeadView<Bf16> dv,
                        HeadView<const Bf16> dout, HeadView<const Bf16> out, const float* lse, HeadView<const Bf16> q,
                        HeadView<const Bf16> k, HeadView<const Bf16> v, float* scratch, const AttentionShape& shape,
                        const Dropout& dropout) {
  using namespace attention;
  check_shape(shape, dropout);
  check_view("q", q), check_view("k", k), check_view("v", v), check_view("out", out), check_view("dout", dout);
  check_view("dq", dq), check_view("dk", dk), check_view("dv", dv);
  GLINT_CHECK(lse && scratch, "backward needs the lse of forward, and its scratch");
  const BackwardArguments<Bf16> a{q, k, v, out, dout, dq, dk, dv, lse, scratch, shape, rule_of(dropout)};
  launch_delta(ctx, a);
  with_head_size(shape.HS, [&]<int kHS>() { launch_backward_keys<kHS>(ctx, a); });
  with_head_size(shape.HS, [&]<int kHS>() { launch_backward_queries<kHS>(ctx, a); });
}

void attention_backward(const CudaContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                        HeadView<const float> dout, HeadView<const float> out, const float* lse,
                        HeadView<const float> q, HeadView<const float> k, HeadView<const float> v, float* scratch,
                        const AttentionShape& shape, const Dropout& dropout) {
  using namespace attention;
  check_shape(shape, dropout);
  GLINT_CHECK(lse && scratch, "backward needs the lse of forward, and its scratch");
  const BackwardArguments<float> a{q, k, v, out, dout, dq, dk, dv, lse, scratch, shape, rule_of(dropout)};
  launch_delta(ctx, a);
  launch_backward_keys_fp32(ctx, a);
  launch_backward_queries_fp32(ctx, a);
}

}  // namespace glint
