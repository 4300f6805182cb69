// Attention on an NVIDIA GPU: checks of the arguments, choice of the kernels. The kernels are in attention/.
#include "kernels/attention.h"

#include <cstdint>

#include "kernels/attention_check.h"
#include "kernels/cuda/attention/launch.h"

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

// Calls f with the head size of the kernels that HS channels are padded to.
template <typename F>
void with_head_size(int HS, F&& f) {
  if (HS <= 32) f.template operator()<32>();
  else if (HS <= 64) f.template operator()<64>();
  else if (HS <= 96) f.template operator()<96>();
  else f.template operator()<128>();
}

template <typename Scalar>
void check(const AttentionBackward<Scalar>& a) {
  check_shape(a.shape, a.dropout);
  GLINT_CHECK(a.lse && a.scratch, "backward needs lse and scratch");
}

}  // namespace
}  // namespace attention

using namespace attention;

void attention_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a) {
  check_shape(a.shape, a.dropout);
  check_view("out", a.out), check_view("q", a.q), check_view("k", a.k), check_view("v", a.v);
  with_head_size(a.shape.HS, [&]<int kHS>() { launch_forward<kHS>(ctx, a); });
}

void attention_forward(const CudaContext& ctx, const AttentionForward<float>& a) {
  check_shape(a.shape, a.dropout);
  launch_forward_fp32(ctx, a);
}

size_t attention_backward_scratch(const CudaContext&, const AttentionShape& shape) {
  return static_cast<size_t>(shape.B) * shape.NH * shape.T;  // delta
}

void attention_backward(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  check(a);
  check_view("q", a.q), check_view("k", a.k), check_view("v", a.v), check_view("out", a.out);
  check_view("dout", a.dout), check_view("dq", a.dq), check_view("dk", a.dk), check_view("dv", a.dv);
  launch_delta(ctx, a);
  with_head_size(a.shape.HS, [&]<int kHS>() { launch_backward_keys<kHS>(ctx, a); });
  with_head_size(a.shape.HS, [&]<int kHS>() { launch_backward_queries<kHS>(ctx, a); });
}

void attention_backward(const CudaContext& ctx, const AttentionBackward<float>& a) {
  check(a);
  launch_delta(ctx, a);
  launch_backward_keys_fp32(ctx, a);
  launch_backward_queries_fp32(ctx, a);
}

}  // namespace glint
