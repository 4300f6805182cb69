// Attention on an NVIDIA GPU: checks of the arguments, choice of the kernels. The kernels are in attention/.
#include "kernels/attention.h"

#include <algorithm>
#include <cstdint>

#include "kernels/attention_check.h"
#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/sm90/launch.h"
#include "kernels/cuda/check_cuda.h"

namespace glint {
namespace attention {
namespace {

#if defined(GLINT_WITH_SM90A) || !defined(__CUDACC__)
constexpr bool kHasSm90 = true;
#else
constexpr bool kHasSm90 = false;
#endif

int current_capability() {
  return 10 * device_attribute(cudaDevAttrComputeCapabilityMajor) + device_attribute(cudaDevAttrComputeCapabilityMinor);
}

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

const char* cuda_attention_kernels(int capability) {
  if (capability != kHopper) return "mma.sync (sm_80)";
  return kHasSm90 ? "wgmma (sm_90a)" : "mma.sync (sm_80); this build has none for sm_90a: see CMAKE_CUDA_ARCHITECTURES";
}

bool uses_hopper_attention(const CudaContext& ctx) {
  if constexpr (!kHasSm90) return false;
  return ctx.attention == CudaAttention::fastest && current_capability() == kHopper;
}

size_t attention_forward_scratch(const CudaContext& ctx, const AttentionShape& shape) {
  if constexpr (kHasSm90) {
    if (uses_hopper_attention(ctx)) return sm90::forward_scratch(shape);
  }
  return 0;
}

void attention_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a) {
  check_shape(a.shape, a.dropout);
  check_view("out", a.out), check_view("q", a.q), check_view("k", a.k), check_view("v", a.v);
  if constexpr (kHasSm90) {
    if (uses_hopper_attention(ctx)) {
      GLINT_CHECK(a.scratch, "forward needs scratch");
      return sm90::launch_forward(ctx, a);
    }
  }
  with_head_size(a.shape.HS, [&]<int kHS>() { launch_forward<kHS>(ctx, a); });
}

void attention_forward(const CudaContext& ctx, const AttentionForward<float>& a) {
  check_shape(a.shape, a.dropout);
  launch_forward_fp32(ctx, a);
}

size_t attention_backward_scratch(const CudaContext& ctx, const AttentionShape& shape) {
  const size_t delta = static_cast<size_t>(shape.B) * shape.NH * shape.T;
  if constexpr (kHasSm90) {
    if (uses_hopper_attention(ctx)) return std::max(delta, HopperBackwardScratch(shape).all());  // fp32 needs delta
  }
  return delta;
}

void attention_backward(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  check(a);
  check_view("q", a.q), check_view("k", a.k), check_view("v", a.v), check_view("out", a.out);
  check_view("dout", a.dout), check_view("dq", a.dq), check_view("dk", a.dk), check_view("dv", a.dv);
  if constexpr (kHasSm90) {
    if (uses_hopper_attention(ctx)) return sm90::launch_backward(ctx, a);
  }
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
