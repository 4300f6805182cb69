// Stands in for Hopper's backward kernels until they are here: those of sm_80.
#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/sm90/launch.h"

namespace glint::attention::sm90 {
namespace {

template <int kHS>
void run(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  launch_delta(ctx, a);
  launch_backward_keys<kHS>(ctx, a);
  launch_backward_queries<kHS>(ctx, a);
}

}  // namespace

size_t backward_scratch(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.NH * s.T; }

void launch_backward(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  if (a.shape.HS <= 64) run<64>(ctx, a);
  else run<128>(ctx, a);
}

}  // namespace glint::attention::sm90
