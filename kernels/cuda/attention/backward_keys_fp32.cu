// ptxas <= 128 registers, 0 bytes of shared memory
// dK and dV in fp32: a block owns kTile keys of one head and loops over the queries that see them.
#include "kernels/cuda/attention/fp32.cuh"

namespace glint::attention {
namespace fp32 {

struct BackwardKeysTiles {
  TokenTile k, v, q, dout;
  float p[kTile][kTile + 1], ds[kTile][kTile + 1];  // (queries, keys)
};

__global__ void __launch_bounds__(kThreads) backward_keys_kernel(const __grid_constant__ AttentionBackward<float> a) {
  const AttentionShape& shape = a.shape;
  const int kv = blockIdx.y, b = blockIdx.z, group = shape.NH / shape.NKV, HS = shape.HS;
  const int j0 = blockIdx.x * kTile, row = warp() * kWarpRows;  // first keys first: their columns are longest
  BackwardKeysTiles& shared = dynamic_shared<BackwardKeysTiles>();
  float dk[kWarpRows][kLaneChannels] = {}, dv[kWarpRows][kLaneChannels] = {};

  shared.k.load(a.k, b, j0, kv, shape.S, HS);
  shared.v.load(a.v, b, j0, kv, shape.S, HS);
  for (int h = kv * group; h < (kv + 1) * group; ++h) {
    for (int i0 = CausalRange(shape).first_query(j0) / kTile * kTile; i0 < shape.T; i0 += kTile) {
      shared.q.load(a.q, b, i0, h, shape.T, HS);
      shared.dout.load(a.dout, b, i0, h, shape.T, HS);
      __syncthreads();
      for (int r = row; r < row + kWarpRows; ++r) {
        const Gradient g = gradient_of(a, b, h, i0 + r, j0 + lane(), shared.q.data[r], shared.dout.data[r],
                                       shared.k.data[lane()], shared.v.data[lane()]);
        shared.p[r][lane()] = g.p;
        shared.ds[r][lane()] = g.ds;
      }
      __syncthreads();  // a key's row of the products needs all queries
#pragma unroll
      for (int key = 0; key < kWarpRows; ++key) {
#pragma unroll 1  // unrolled, it would spill
        for (int r = 0; r < kTile; ++r) {
          const float p = shared.p[r][row + key], ds = shared.ds[r][row + key];
          for_channels(HS, [&](int n, int c) {
            dv[key][n] = fmaf(p, shared.dout.data[r][c], dv[key][n]);  // dV += (M * P)^T dO
            dk[key][n] = fmaf(ds, shared.q.data[r][c], dk[key][n]);    // dK += dS^T Q
          });
        }
      }
      __syncthreads();  // before the tiles are overwritten
    }
  }
#pragma unroll
  for (int key = 0; key < kWarpRows; ++key) {
    const int j = j0 + row + key;
    if (j >= shape.S) continue;
    for_channels(HS, [&](int n, int c) {
      a.dk.at(b, j, kv)[c] = dk[key][n] * (shape.scale * a.dropout.scale);
      a.dv.at(b, j, kv)[c] = dv[key][n] * a.dropout.scale;
    });
  }
}

}  // namespace fp32

void launch_backward_keys_fp32(const CudaContext& ctx, const AttentionBackward<float>& a) {
  const AttentionShape& s = a.shape;
  const dim3 grid((s.S + fp32::kTile - 1) / fp32::kTile, s.NKV, s.B);
  launch(
      ctx, {grid, dim3(fp32::kThreads), sizeof(fp32::BackwardKeysTiles)},
      [&] { return fp32::what_of("attention_backward, dK and dV", s); }, fp32::backward_keys_kernel, a);
}

}  // namespace glint::attention
