// ptxas <= 96 registers, 0 bytes of shared memory
// Attention forward in fp32: FlashAttention-2, Algorithm 1, one lane per key.
#include "kernels/cuda/attention/fp32.cuh"

namespace glint::attention {
namespace fp32 {

struct ForwardTiles {
  TokenTile q, k, v;
};

__global__ void __launch_bounds__(kThreads) forward_kernel(const __grid_constant__ AttentionForward<float> a) {
  const AttentionShape& shape = a.shape;
  const int h = blockIdx.y, b = blockIdx.z, kv = h / (shape.NH / shape.NKV), HS = shape.HS;
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kTile, row = warp() * kWarpRows;  // long rows first
  const CausalRange range(shape);
  const float scale2 = shape.scale * kLog2E;
  ForwardTiles& shared = dynamic_shared<ForwardTiles>();
  float o[kWarpRows][kLaneChannels] = {}, max[kWarpRows], sum[kWarpRows] = {};  // each lane has a partial sum
#pragma unroll
  for (float& m : max) m = -INFINITY;

  shared.q.load(a.q, b, i0, h, shape.T, HS);
  for (int j0 = 0; j0 < range.key_end(i0 + kTile - 1); j0 += kTile) {
    shared.k.load(a.k, b, j0, kv, shape.S, HS);
    shared.v.load(a.v, b, j0, kv, shape.S, HS);
    __syncthreads();
    const int keys = min(kTile, shape.S - j0);
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const int i = i0 + row + r, j = j0 + lane();
      const float s =
          range.is_visible(i, j) ? dot(shared.q.data[row + r], shared.k.data[lane()], HS) * scale2 : -INFINITY;
      const float new_max = fmaxf(max[r], warp_max(s)), alpha = exp2f(max[r] - new_max), p = exp2f(s - new_max);
      max[r] = new_max;
      sum[r] = sum[r] * alpha + p;
      const float kept = DropoutMask(a.dropout, shape.NH, b, h).keeps_attention(i, j) ? p : 0.0f;
#pragma unroll
      for (float& x : o[r]) x *= alpha;
      for (int key = 0; key < keys; ++key) {  // O += P V
        const float weight = __shfl_sync(0xffffffffu, kept, key);
        for_channels(HS, [&](int n, int c) { o[r][n] = fmaf(weight, shared.v.data[key][c], o[r][n]); });
      }
    }
    __syncthreads();  // before the tiles are overwritten
  }

#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    const int i = i0 + row + r;
    const float total = warp_sum(sum[r]);
    if (i >= shape.T) continue;
    for_channels(HS, [&](int n, int c) { a.out.at(b, i, h)[c] = o[r][n] * (a.dropout.scale / total); });
    if (a.lse && lane() == 0) {
      a.lse[row_of(shape, b, h, i)] = max[r] / kLog2E + logf(total);
    }
  }
}

}  // namespace fp32

void launch_forward_fp32(const CudaContext& ctx, const AttentionForward<float>& a) {
  const AttentionShape& s = a.shape;
  const dim3 grid((s.T + fp32::kTile - 1) / fp32::kTile, s.NH, s.B);
  launch(
      ctx, {grid, dim3(fp32::kThreads), sizeof(fp32::ForwardTiles)},
      [&] { return fp32::what_of("attention_forward", s); }, fp32::forward_kernel, a);
}

}  // namespace glint::attention
