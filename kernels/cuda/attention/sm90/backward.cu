// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/sm90/backward_kernel.cuh"

#include <algorithm>

#include "kernels/cuda/attention/sm90/backward_prepare.h"
#include "kernels/cuda/attention/sm90/launch.h"
#include "kernels/cuda/attention/sm90/tensor_map.h"
#include "kernels/cuda/check_cuda.h"

namespace glint::attention::sm90 {
namespace {

// Dynamic shared memory, of 227 KB.
static_assert(sizeof(BackwardShared<64, true>) <= 212992);
static_assert(sizeof(BackwardShared<128, true>) <= 210944);

BackwardScratch lay_out(float* scratch, const AttentionShape& s) {
  static_assert(kTile == 64 && sizeof(QueryPair) == 2 * 2 * sizeof(float));
  const HopperBackwardScratch sizes(s);
  float *queries = scratch + sizes.counters, *dq = queries + sizes.queries, *turns = dq + sizes.dq;
  return {reinterpret_cast<int*>(scratch), reinterpret_cast<QueryPair*>(queries), dq, reinterpret_cast<int*>(turns)};
}

// Two at a time take 7% less at HS 64, T 8192 without dropout on an H100 (27 November 2026), 3% more with it, and are
// neither faster nor slower at HS 128.
int section_of(const AttentionBackward<Bf16>& a) { return a.shape.HS <= 64 && !a.dropout.on() ? 2 : 1; }

BackwardArguments arguments(const AttentionBackward<Bf16>& a) {
  const AttentionShape& s = a.shape;
  return {.q = make_tensor_map(a.q, s.B, s.T, s.NH, s.HS, kTile),
          .k = make_tensor_map(a.k, s.B, s.S, s.NKV, s.HS, kBlockRows),
          .v = make_tensor_map(a.v, s.B, s.S, s.NKV, s.HS, kBlockRows),
          .dout = make_tensor_map(a.dout, s.B, s.T, s.NH, s.HS, kTile),
          .call = a,
          .range = CausalRange(s),
          .compare = ByteCompare(a.dropout.threshold),
          .scale2 = s.scale * kLog2E,
          .group = s.NH / s.NKV,
          .section = section_of(a),
          .scratch = lay_out(a.scratch, s)};
}

template <int kHS>
void launch_kernels(const CudaContext& ctx, const AttentionBackward<Bf16>& call) {
  const BackwardArguments a = arguments(call);
  const AttentionShape& s = call.shape;
  launch_backward_prepare<kHS>(ctx, a);
  const int items = (s.S + kBlockRows - 1) / kBlockRows * s.NKV * s.B;
  const dim3 grid(std::min(items, device_attribute(cudaDevAttrMultiProcessorCount)));
  const auto what = [&] { return backward_text("dQ, dK and dV", s); };
  const bool dropout = call.dropout.on();
  const size_t bytes = dropout ? sizeof(BackwardShared<kHS, true>) : sizeof(BackwardShared<kHS, false>);
  launch(ctx, {grid, dim3(Warpgroups<kHS>::kThreads), bytes}, what,
         dropout ? backward_kernel<kHS, true> : backward_kernel<kHS, false>, a);
}

}  // namespace

// Why dQ, dK and dV are made by one kernel: two, of which the first owns queries, sum without waiting for one another,
// but need seven products of a tile instead of five. Milliseconds of two / of one on an H100, 27 November 2026 (bf16,
// causal, 16384 tokens of 2048 channels):
//   HS   dropout  T 512          2048           16384
//   64   0        0.385 / 0.389  1.010 / 0.905  6.855 / 5.640
//   64   0.1      0.479 / 0.416  1.419 / 1.073  9.552 / 7.125
//   128  0        0.332 / 0.342  0.835 / 0.792  5.298 / 5.357
//   128  0.1      0.372 / 0.357  1.015 / 0.865  6.481 / 5.523
void launch_backward(const CudaContext& ctx, const AttentionBackward<Bf16>& a) {
  GLINT_CHECK(a.scratch && reinterpret_cast<uintptr_t>(a.scratch) % 16 == 0, "the scratch begins at 16 bytes");
  if (a.shape.HS <= 64) launch_kernels<64>(ctx, a);
  else launch_kernels<128>(ctx, a);
}

}  // namespace glint::attention::sm90
