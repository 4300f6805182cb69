// ptxas <= 32 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/sm90/backward_prepare.h"

namespace glint::attention::sm90 {
namespace {

constexpr int kThreads = 256;

// Of two pairs of bf16.
__device__ inline float product(uint32_t x, uint32_t y) {
  const float low = __uint_as_float(x << 16) * __uint_as_float(y << 16);
  return fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), low);
}

// A block takes a tile of queries, kHS / 8 neighbouring lanes a query.
template <int kHS>
__global__ void __launch_bounds__(kThreads) backward_prepare_kernel(const __grid_constant__ BackwardArguments a) {
  constexpr int kLanes = kHS / 8;
  const AttentionShape& shape = a.call.shape;
  const int h = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, channel = threadIdx.x % kLanes * 8;
  if (threadIdx.x == 0) {
    a.scratch.turns[a.tile_index(b, h, first)] = 0;
    if (first == 0 && h == 0 && b == 0) *a.scratch.items_taken = 0;
  }
  for (int row = threadIdx.x / kLanes; row < kTile; row += kThreads / kLanes) {
    const int t = first + row;
    const bool valid = t < shape.T;
    float sum = 0.0f;
    if (valid && channel < shape.HS) {
      const uint4 out = load_vector<uint4>(a.call.out.at(b, t, h) + channel);
      const uint4 dout = load_vector<uint4>(a.call.dout.at(b, t, h) + channel);
      sum = product(out.x, dout.x) + product(out.y, dout.y) + product(out.z, dout.z) + product(out.w, dout.w);
    }
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (channel > 0) continue;
    QueryPair* pair = a.queries(b, h, t);
    pair->lse2[t % 2] = valid ? a.call.lse[row_of(shape, b, h, t)] * kLog2E : INFINITY;
    pair->delta[t % 2] = sum / a.call.dropout.scale;
  }
}

}  // namespace

template <int kHS>
void launch_backward_prepare(const CudaContext& ctx, const BackwardArguments& a) {
  const AttentionShape& s = a.call.shape;
  const auto what = [&] { return backward_text("D", s); };
  const dim3 grid((s.T + kTile - 1) / kTile, s.NH, s.B);
  launch(ctx, {grid, dim3(kThreads)}, what, backward_prepare_kernel<kHS>, a);
}

template void launch_backward_prepare<64>(const CudaContext&, const BackwardArguments&);
template void launch_backward_prepare<128>(const CudaContext&, const BackwardArguments&);

}  // namespace glint::attention::sm90
