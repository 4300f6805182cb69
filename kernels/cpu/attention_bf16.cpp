// Attention of bf16 arrays on the CPU: computed in fp32, rounded where a bf16 array is written. (The CUDA kernels also
// round P and dS, which tensor cores take in bf16.)
#include "kernels/attention_check.h"
#include "kernels/cpu/widened.h"

namespace glint {

void attention_forward(const CpuContext& ctx, const AttentionForward<Bf16>& a) {
  const AttentionShape& s = a.shape;
  attention::check_attention(s, a.dropout);
  WidenedView q(a.q, s.B, s.T, s.NH, s.HS), k(a.k, s.B, s.S, s.NKV, s.HS), v(a.v, s.B, s.S, s.NKV, s.HS);
  WidenedView out(s.B, s.T, s.NH, s.HS);
  attention_forward(ctx, AttentionForward<float>{.out = out.view(),
                                                 .lse = a.lse,
                                                 .q = q.view(),
                                                 .k = k.view(),
                                                 .v = v.view(),
                                                 .shape = s,
                                                 .dropout = a.dropout});
  out.store(a.out);
}

void attention_backward(const CpuContext& ctx, const AttentionBackward<Bf16>& a) {
  const AttentionShape& s = a.shape;
  attention::check_attention(s, a.dropout);
  WidenedView q(a.q, s.B, s.T, s.NH, s.HS), k(a.k, s.B, s.S, s.NKV, s.HS), v(a.v, s.B, s.S, s.NKV, s.HS);
  WidenedView out(a.out, s.B, s.T, s.NH, s.HS), dout(a.dout, s.B, s.T, s.NH, s.HS);
  WidenedView dq(s.B, s.T, s.NH, s.HS), dk(s.B, s.S, s.NKV, s.HS), dv(s.B, s.S, s.NKV, s.HS);
  attention_backward(ctx, AttentionBackward<float>{.dq = dq.view(),
                                                   .dk = dk.view(),
                                                   .dv = dv.view(),
                                                   .dout = dout.view(),
                                                   .out = out.view(),
                                                   .lse = a.lse,
                                                   .q = q.view(),
                                                   .k = k.view(),
                                                   .v = v.view(),
                                                   .scratch = a.scratch,
                                                   .shape = s,
                                                   .dropout = a.dropout});
  dq.store(a.dq), dk.store(a.dk), dv.store(a.dv);
}

}  // namespace glint
