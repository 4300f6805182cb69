// ptxas <= 32 registers, 0 bytes of shared memory
// D = keep probability * rowsum(dO * O), one warp per row.
#include "kernels/causal_range.h"
#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/device.cuh"

namespace glint::attention {
namespace {

constexpr int kRowsPerBlock = 4;

template <typename Scalar>
__global__ void __launch_bounds__(32 * kRowsPerBlock)
    delta_kernel(const __grid_constant__ AttentionBackward<Scalar> a) {
  const AttentionShape& shape = a.shape;
  const int t = blockIdx.x * kRowsPerBlock + threadIdx.x / 32, h = blockIdx.y, b = blockIdx.z, lane = threadIdx.x % 32;
  if (t >= shape.T) return;  // the whole warp; there is no barrier
  const Scalar *dout = a.dout.at(b, t, h), *out = a.out.at(b, t, h);
  float sum = 0.0f;
  for (int c = lane; c < shape.HS; c += 32) sum = fmaf(to_float(dout[c]), to_float(out[c]), sum);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) a.scratch[row_of(shape, b, h, t)] = sum / a.dropout.scale;
}

}  // namespace

template <typename Scalar>
void launch_delta(const CudaContext& ctx, const AttentionBackward<Scalar>& a) {
  const auto what = [&] { return str_cat("attention_backward, D, B ", a.shape.B, ", T ", a.shape.T); };
  const dim3 grid((a.shape.T + kRowsPerBlock - 1) / kRowsPerBlock, a.shape.NH, a.shape.B);
  launch(ctx, {grid, dim3(32 * kRowsPerBlock)}, what, delta_kernel<Scalar>, a);
}

template void launch_delta(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_delta(const CudaContext&, const AttentionBackward<float>&);

}  // namespace glint::attention
