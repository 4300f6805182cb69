// Softmax and cross-entropy. A group of warps owns a row; it comes from memory once, for the second sweep finds it in the L2
// cache.
#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/ptx.cuh"

namespace glint {
namespace {

constexpr float kLog2E = 1.44269504f;

struct Rows {
  BlockScratch<float> scratch;
};

// The largest value so far, and the sum of exp(x - largest).
struct RunningSum {
  float largest = -INFINITY, sum = 0.0f;

  template <int kCount, typename Scalar>
  __device__ void add(const Pack<Scalar, kCount>& pack, int valid) {
    float now = largest;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < valid) now = fmaxf(now, pack[i]);
    }
    sum *= scale_to(now);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < valid) sum += ptx::exp2((pack[i] - finite(now)) * kLog2E);
    }
    largest = now;
  }
  // What the sum is multiplied with when the largest value becomes `now`.
  __device__ float scale_to(float now) const { return ptx::exp2((largest - finite(now)) * kLog2E); }
  __device__ static float finite(float x) { return x == -INFINITY ? 0.0f : x; }  // -inf - -inf would be a NaN
};

// losses (rows); kGradient: logits := (softmax - onehot) * gradient_scale.
template <typename Scalar, bool kGradient>
__global__ void __launch_bounds__(1024) cross_entropy_kernel(float* losses, Scalar* logits, const int32_t* targets, float gradient_scale,
                                                             CrossEntropyShape shape, int warps) {
  constexpr int kCount = kPack<Scalar>;
  BlockScratch<float>& scratch = dynamic_shared<Rows>().scratch;
  const int threads = 32 * warps, groups = blockDim.x / threads, lane = threadIdx.x % threads;
  const int row = blockIdx.x * groups + threadIdx.x / threads;
  const bool there = row < shape.rows;  // the others still come to the barriers
  Scalar* z = logits + static_cast<size_t>(there ? row : 0) * shape.V;
  const int V = there ? shape.V : 0, target = there ? targets[row] : 0;
  const float target_logit = there ? to_float(z[target]) : 0.0f;

  RunningSum mine;
  for (int first = lane * kCount; first < V; first += threads * kCount) mine.add(load_pack<kCount>(z + first, V - first), V - first);
  const float largest = reduce_group(mine.largest, Largest{}, scratch, 0, warps);
  const float total = reduce_group(mine.sum * mine.scale_to(largest), Sum{}, scratch, 1, warps);
  if (there && lane == 0) losses[row] = logf(total) + (largest - target_logit);
  if constexpr (kGradient) {
    __syncwarp();  // within one warp there was no barrier yet behind the reading of the target's logit
    const float shift = RunningSum::finite(largest), factor = gradient_scale / total;
    for (int first = lane * kCount; first < V; first += threads * kCount) {
      const auto pack = load_pack<kCount>(z + first, V - first);
      float gradient[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        gradient[i] = ptx::exp2((pack[i] - shift) * kLog2E) * factor - (first + i == target ? gradient_scale : 0.0f);
      }
      store_pack(z + first, gradient, V - first);
    }
  }
}

template <bool kGradient, typename Scalar>
void launch_cross_entropy(const CudaContext& ctx, float* losses, Scalar* logits, const int32_t* targets, float gradient_scale,
                          const CrossEntropyShape& shape) {
  const auto what = [&] { return text("cross_entropy, rows ", shape.rows, ", V ", shape.V); };
  const int warps = shape.V <= 1024 ? 1 : shape.V <= 8192 ? 8 : 32;
  const int threads = std::max(256, 32 * warps), groups = threads / (32 * warps);
  const dim3 grid(static_cast<unsigned>((shape.rows + groups - 1) / groups));
  launch(ctx, {grid, dim3(static_cast<unsigned>(threads)), sizeof(Rows)}, what, cross_entropy_kernel<Scalar, kGradient>, losses, logits,
         targets, gradient_scale, shape, warps);
}

}  // namespace

template <typename Scalar>
void cross_entropy_forward(const CudaContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape) {
  launch_cross_entropy<false>(ctx, losses, const_cast<Scalar*>(logits), targets, 0.0f, shape);
}
template <typename Scalar>
void cross_entropy_forward_backward(const CudaContext& ctx, float* losses, Scalar* logits, const int32_t* targets, float gradient_scale,
                                    const CrossEntropyShape& shape) {
  launch_cross_entropy<true>(ctx, losses, logits, targets, gradient_scale, shape);
}

template void cross_entropy_forward(const CudaContext&, float*, const float*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward(const CudaContext&, float*, const Bf16*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CudaContext&, float*, float*, const int32_t*, float, const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CudaContext&, float*, Bf16*, const int32_t*, float, const CrossEntropyShape&);

}  // namespace glint
