// ptxas <= 80 registers, 0 bytes of shared memory
// dQ in fp32: a block owns kTile queries of one head and loops over the keys that they see.
#include "kernels/cuda/attention/fp32.cuh"

namespace glint::attention {
namespace fp32 {

struct BackwardQueriesTiles {
  TokenTile q, dout, k, v;
};

__global__ void __launch_bounds__(kThreads)
    backward_queries_kernel(const __grid_constant__ AttentionBackward<float> a) {
  const AttentionShape& shape = a.shape;
  const int h = blockIdx.y, b = blockIdx.z, kv = h / (shape.NH / shape.NKV), HS = shape.HS;
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kTile, row = warp() * kWarpRows;  // long rows first
  BackwardQueriesTiles& shared = dynamic_shared<BackwardQueriesTiles>();
  float dq[kWarpRows][kLaneChannels] = {};

  shared.q.load(a.q, b, i0, h, shape.T, HS);
  shared.dout.load(a.dout, b, i0, h, shape.T, HS);
  for (int j0 = 0; j0 < CausalRange(shape).key_end(i0 + kTile - 1); j0 += kTile) {
    shared.k.load(a.k, b, j0, kv, shape.S, HS);
    shared.v.load(a.v, b, j0, kv, shape.S, HS);
    __syncthreads();
    const int keys = min(kTile, shape.S - j0);
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const Gradient g = gradient_of(a, b, h, i0 + row + r, j0 + lane(), shared.q.data[row + r],
                                     shared.dout.data[row + r], shared.k.data[lane()], shared.v.data[lane()]);
      for (int key = 0; key < keys; ++key) {  // dQ += dS K
        const float ds = __shfl_sync(0xffffffffu, g.ds, key);
        for_channels(HS, [&](int n, int c) { dq[r][n] = fmaf(ds, shared.k.data[key][c], dq[r][n]); });
      }
    }
    __syncthreads();  // before the tiles are overwritten
  }
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    const int i = i0 + row + r;
    if (i >= shape.T) continue;
    for_channels(HS, [&](int n, int c) { a.dq.at(b, i, h)[c] = dq[r][n] * (shape.scale * a.dropout.scale); });
  }
}

}  // namespace fp32

void launch_backward_queries_fp32(const CudaContext& ctx, const AttentionBackward<float>& a) {
  const AttentionShape& s = a.shape;
  const dim3 grid((s.T + fp32::kTile - 1) / fp32::kTile, s.NH, s.B);
  launch(
      ctx, {grid, dim3(fp32::kThreads), sizeof(fp32::BackwardQueriesTiles)},
      [&] { return fp32::what_of("attention_backward, dQ", s); }, fp32::backward_queries_kernel, a);
}

}  // namespace glint::attention
