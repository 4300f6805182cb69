// A warp normalises a head; a lane holds kPacks packs of it in registers, zeros beyond HS.
#include "kernels/qk_norm.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kCount = 4, kPacks = 2, kWarps = 8;
constexpr int kMaxHS = 32 * kCount * kPacks;

// call(first element of a head, index of the head), for the heads of this warp.
template <typename Call>
__device__ inline void for_heads(const QkNormShape& shape, const Call& call) {
  const int heads = shape.rows * shape.heads, warps = gridDim.x * kWarps;
  for (int index = blockIdx.x * kWarps + threadIdx.x / 32; index < heads; index += warps) {
    const size_t row = index / shape.heads;
    call(row * shape.stride + static_cast<size_t>(index % shape.heads) * shape.HS, index);
  }
}

// First channel of pack k of this lane.
__device__ inline int channel(int k) { return (k * 32 + threadIdx.x % 32) * kCount; }

template <typename Scalar>
__device__ inline void load(Pack<Scalar, kCount> (&packs)[kPacks], const Scalar* from, int HS) {
#pragma unroll
  for (int k = 0; k < kPacks; ++k) packs[k] = load_pack<kCount>(from + min(channel(k), HS), HS - channel(k));
}

template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps) forward_kernel(Scalar* packed, float* rstd, const QkNormShape shape) {
  for_heads(shape, [&](size_t at, int index) {
    Pack<Scalar, kCount> x[kPacks];
    load(x, packed + at, shape.HS);
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kPacks * kCount; ++i) squares += x[i / kCount][i % kCount] * x[i / kCount][i % kCount];
    const float scale = 1.0f / sqrtf(reduce_warp(squares, Sum{}) / static_cast<float>(shape.HS) + shape.eps);
    if (threadIdx.x % 32 == 0) rstd[index] = scale;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = x[k][i] * scale;
      store_pack(packed + at + min(channel(k), shape.HS), values, shape.HS - channel(k));
    }
  });
}

// With y = x * rstd: dx = rstd * (dy - y * mean(dy * y)).
template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps)
    backward_kernel(Scalar* dpacked, const Scalar* packed, const float* rstd, const QkNormShape shape) {
  for_heads(shape, [&](size_t at, int index) {
    Pack<Scalar, kCount> dy[kPacks], y[kPacks];
    load(dy, dpacked + at, shape.HS);
    load(y, packed + at, shape.HS);
    float products = 0.0f;
#pragma unroll
    for (int i = 0; i < kPacks * kCount; ++i) products += dy[i / kCount][i % kCount] * y[i / kCount][i % kCount];
    const float mean = reduce_warp(products, Sum{}) / static_cast<float>(shape.HS), scale = rstd[index];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = (dy[k][i] - y[k][i] * mean) * scale;
      store_pack(dpacked + at + min(channel(k), shape.HS), values, shape.HS - channel(k));
    }
  });
}

Launch launch_of(const QkNormShape& shape) {
  GLINT_CHECK(shape.HS % kCount == 0 && shape.HS <= kMaxHS, "heads of ", shape.HS, " channels");
  constexpr int kMaxBlocks = 2048;
  const int64_t heads = int64_t{shape.rows} * shape.heads;
  return {dim3(static_cast<unsigned>(std::clamp<int64_t>((heads + kWarps - 1) / kWarps, 1, kMaxBlocks))),
          dim3(32 * kWarps)};
}

}  // namespace

template <typename Scalar>
void qk_norm_forward(const CudaContext& ctx, Scalar* packed, float* rstd, const QkNormShape& shape) {
  const auto what = [&] { return str_cat("qk_norm_forward, rows ", shape.rows, ", heads ", shape.heads); };
  launch(ctx, launch_of(shape), what, forward_kernel<Scalar>, packed, rstd, shape);
}

template <typename Scalar>
void qk_norm_backward(const CudaContext& ctx, Scalar* dpacked, const Scalar* packed, const float* rstd,
                      const QkNormShape& shape) {
  const auto what = [&] { return str_cat("qk_norm_backward, rows ", shape.rows, ", heads ", shape.heads); };
  launch(ctx, launch_of(shape), what, backward_kernel<Scalar>, dpacked, packed, rstd, shape);
}

template void qk_norm_forward(const CudaContext&, float*, float*, const QkNormShape&);
template void qk_norm_forward(const CudaContext&, Bf16*, float*, const QkNormShape&);
template void qk_norm_backward(const CudaContext&, float*, const float*, const float*, const QkNormShape&);
template void qk_norm_backward(const CudaContext&, Bf16*, const Bf16*, const float*, const QkNormShape&);

}  // namespace glint
