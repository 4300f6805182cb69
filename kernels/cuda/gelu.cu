#include "kernels/gelu.h"

#include "kernels/cuda/pack.cuh"
#include "kernels/gelu_formula.h"

namespace glint {
namespace {

struct ScalarMath {
  using Number = float;
  __device__ static float constant(float value) { return value; }
  __device__ static float larger(float a, float b) { return a > b ? a : b; }
  __device__ static float smaller(float a, float b) { return a < b ? a : b; }
  __device__ static float exp2(float x) { return ptx::exp2(x); }
  __device__ static float quotient(float a, float b) { return __fdividef(a, b); }  // b is below 2^126
};
using Formula = GeluFormula<ScalarMath>;

template <Gelu kKind, typename Scalar>
__global__ void __launch_bounds__(kFlatThreads) forward_kernel(Scalar* out, const Scalar* x, size_t n) {
  constexpr int kCount = kPack<Scalar>;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto in = load_pack<kCount>(x + first, valid);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if constexpr (kKind == Gelu::erf) values[i] = Formula::erf_forward(in[i]);
      else values[i] = Formula::tanh_forward(in[i]);
    }
    store_pack(out + first, values, valid);
  });
}

template <Gelu kKind, typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    backward_kernel(Scalar* dx, const Scalar* dout, const Scalar* x, size_t n) {
  constexpr int kCount = kPack<Scalar>;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto in = load_pack<kCount>(x + first, valid), gradient = load_pack<kCount>(dout + first, valid);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if constexpr (kKind == Gelu::erf) values[i] = Formula::erf_backward(gradient[i], in[i]);
      else values[i] = Formula::tanh_backward(gradient[i], in[i]);
    }
    store_pack(dx + first, values, valid);
  });
}

}  // namespace

template <typename Scalar>
void gelu_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, size_t n, Gelu kind) {
  const auto what = [&] { return str_cat("gelu_forward of ", n, " elements"); };
  const auto kernel = kind == Gelu::erf ? forward_kernel<Gelu::erf, Scalar> : forward_kernel<Gelu::tanh, Scalar>;
  launch(ctx, flat_launch(n, kPack<Scalar>), what, kernel, out, x, n);
}

template <typename Scalar>
void gelu_backward(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* x, size_t n, Gelu kind) {
  const auto what = [&] { return str_cat("gelu_backward of ", n, " elements"); };
  const auto kernel = kind == Gelu::erf ? backward_kernel<Gelu::erf, Scalar> : backward_kernel<Gelu::tanh, Scalar>;
  launch(ctx, flat_launch(n, kPack<Scalar>), what, kernel, dx, dout, x, n);
}

template void gelu_forward(const CudaContext&, float*, const float*, size_t, Gelu);
template void gelu_forward(const CudaContext&, Bf16*, const Bf16*, size_t, Gelu);
template void gelu_backward(const CudaContext&, float*, const float*, const float*, size_t, Gelu);
template void gelu_backward(const CudaContext&, Bf16*, const Bf16*, const Bf16*, size_t, Gelu);

}  // namespace glint
