#include "kernels/convert.h"

#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kCount = 8;

template <typename To, typename From>
__global__ void __launch_bounds__(kFlatThreads) convert_kernel(To* out, const From* x, size_t n) {
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto from = load_pack<kCount>(x + first, valid);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = from[i];
    store_pack(out + first, values, valid);
  });
}

template <typename To, typename From>
void launch_convert(const CudaContext& ctx, To* out, const From* x, size_t n) {
  const auto what = [&] { return str_cat("convert of ", n, " elements"); };
  launch(ctx, flat_launch(n, kCount), what, convert_kernel<To, From>, out, x, n);
}

}  // namespace

void convert(const CudaContext& ctx, Bf16* out, const float* x, size_t n) { launch_convert(ctx, out, x, n); }
void convert(const CudaContext& ctx, float* out, const Bf16* x, size_t n) { launch_convert(ctx, out, x, n); }

}  // namespace glint
