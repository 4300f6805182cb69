#include "kernels/kv_cache.h"

#include "kernels/cuda/device.cuh"

namespace glint {
namespace {

constexpr int kThreads = 256;

// A thread an element: a few thousand of them at most.
template <typename Scalar>
__global__ void append_kernel(Scalar* keys, Scalar* values, HeadView<const Scalar> k, HeadView<const Scalar> v, KvCacheShape shape) {
  const int i = blockIdx.x * kThreads + threadIdx.x, row = shape.heads * shape.HS;
  if (i >= shape.T * row) return;
  const int t = i / row, h = i % row / shape.HS, c = i % shape.HS;
  keys[i] = k.at(0, t, h)[c];
  values[i] = v.at(0, t, h)[c];
}

}  // namespace

template <typename Scalar>
void kv_cache_append(const CudaContext& ctx, Scalar* cache, int first, HeadView<const Scalar> k, HeadView<const Scalar> v,
                     const KvCacheShape& shape) {
  GLINT_CHECK(first >= 0 && first + shape.T <= shape.capacity, "position ", first, " + ", shape.T, " of ", shape.capacity);
  const int64_t row = int64_t{shape.heads} * shape.HS;
  Scalar* keys = cache + first * row;
  const auto what = [&] { return text("kv_cache_append, T ", shape.T, ", heads ", shape.heads, ", HS ", shape.HS); };
  const dim3 grid(static_cast<unsigned>((shape.T * row + kThreads - 1) / kThreads));
  launch(ctx, {grid, dim3(kThreads)}, what, append_kernel<Scalar>, keys, keys + shape.capacity * row, k, v, shape);
}

template void kv_cache_append(const CudaContext&, float*, int, HeadView<const float>, HeadView<const float>, const KvCacheShape&);
template void kv_cache_append(const CudaContext&, Bf16*, int, HeadView<const Bf16>, HeadView<const Bf16>, const KvCacheShape&);

}  // namespace glint
