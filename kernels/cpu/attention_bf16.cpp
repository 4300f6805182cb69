// Attention of bf16 arrays on the CPU: computed in fp32, rounded where a bf16 array is written. (The CUDA kernels round
// the weights P and the scores' gradients too, as tensor cores take them.)
#include "kernels/cpu/widened.h"

namespace glint {

void attention_forward(const CpuContext& ctx, HeadView<Bf16> out, float* lse, HeadView<const Bf16> q,
                       HeadView<const Bf16> k, HeadView<const Bf16> v, const AttentionShape& s,
                       const Dropout& dropout) {
  WidenedView wide_q(q, s.B, s.T, s.NH, s.HS), wide_k(k, s.B, s.S, s.NKV, s.HS), wide_v(v, s.B, s.S, s.NKV, s.HS);
  WidenedView result(s.B, s.T, s.NH, s.HS);
  attention_forward(ctx, result.view(), lse, wide_q.read(), wide_k.read(), wide_v.read(), s, dropout);
  result.store(out);
}

void attention_backward(const CpuContext& ctx, HeadView<Bf16> dq, HeadView<Bf16> dk, HeadView<Bf16> dv,
                        HeadView<const Bf16> dout, HeadView<const Bf16> out, const float* lse, HeadView<const Bf16> q,
                        HeadView<const Bf16> k, HeadView<const Bf16> v, float* scratch, const AttentionShape& s,
                        const Dropout& dropout) {
  WidenedView wide_q(q, s.B, s.T, s.NH, s.HS), wide_k(k, s.B, s.S, s.NKV, s.HS), wide_v(v, s.B, s.S, s.NKV, s.HS);
  WidenedView wide_out(out, s.B, s.T, s.NH, s.HS), wide_dout(dout, s.B, s.T, s.NH, s.HS);
  WidenedView result_q(s.B, s.T, s.NH, s.HS), result_k(s.B, s.S, s.NKV, s.HS), result_v(s.B, s.S, s.NKV, s.HS);
  attention_backward(ctx, result_q.view(), result_k.view(), result_v.view(), wide_dout.read(), wide_out.read(), lse,
                     wide_q.read(), wide_k.read(), wide_v.read(), scratch, s, dropout);
  result_q.store(dq);
  result_k.store(dk);
  result_v.store(dv);
}

}  // namespace glint
