#include "kernels/gelu.h"

#include <algorithm>

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
  __device__ static float saturate(float x) { return __saturatef(x); }
  __device__ static float quotient(float a, float b) { return a * ptx::reciprocal(b); }  // b is below 2^126
};
using Formula = GeluFormula<ScalarMath>;

// One pack a thread, and no loop: blocks that end make room for the loads of others. Two or four packs, all loaded
// first, were 1 and 2% slower on an H100.
template <typename Scalar>
struct OnePack {
  static constexpr int kCount = kPack<Scalar>;

  __device__ explicit OnePack(size_t n)
      : first((size_t{blockIdx.x} * kFlatThreads + threadIdx.x) * kCount),
        valid(first >= n           ? 0
              : n - first < kCount ? static_cast<int>(n - first)
                                   : kCount) {}

  __device__ Pack<Scalar, kCount> load(const Scalar* from) const { return load_pack<kCount>(from + first, valid); }
  template <typename Value>
  __device__ void store(Scalar* to, const Value& value) const {
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = value(i);
    store_pack(to + first, values, valid);
  }

  size_t first;
  int valid;
};
template <typename Scalar>
Launch launch_of(size_t n) {
  constexpr size_t kBlock = size_t{kFlatThreads} * kPack<Scalar>;
  return {dim3(static_cast<unsigned>(std::max<size_t>((n + kBlock - 1) / kBlock, 1))), dim3(kFlatThreads)};
}

template <Gelu kKind, typename Scalar>
__global__ void __launch_bounds__(kFlatThreads) forward_kernel(Scalar* out, const Scalar* x, size_t n) {
  const OnePack<Scalar> pack(n);
  const auto in = pack.load(x);
  pack.store(out,
             [&](int i) { return kKind == Gelu::erf ? Formula::erf_forward(in[i]) : Formula::tanh_forward(in[i]); });
}

// dx may be dout: a thread stores where it alone has loaded.
template <Gelu kKind, typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    backward_kernel(Scalar* dx, const Scalar* dout, const Scalar* x, size_t n) {
  const OnePack<Scalar> pack(n);
  const auto in = pack.load(x), gradient = pack.load(dout);
  pack.store(dx, [&](int i) {
    return kKind == Gelu::erf ? Formula::erf_backward(gradient[i], in[i]) : Formula::tanh_backward(gradient[i], in[i]);
  });
}

}  // namespace

template <typename Scalar>
void gelu_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, size_t n, Gelu kind) {
  const auto what = [&] { return str_cat("gelu_forward of ", n, " elements"); };
  const auto kernel = kind == Gelu::erf ? forward_kernel<Gelu::erf, Scalar> : forward_kernel<Gelu::tanh, Scalar>;
  launch(ctx, launch_of<Scalar>(n), what, kernel, out, x, n);
}

template <typename Scalar>
void gelu_backward(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* x, size_t n, Gelu kind) {
  const auto what = [&] { return str_cat("gelu_backward of ", n, " elements"); };
  const auto kernel = kind == Gelu::erf ? backward_kernel<Gelu::erf, Scalar> : backward_kernel<Gelu::tanh, Scalar>;
  launch(ctx, launch_of<Scalar>(n), what, kernel, dx, dout, x, n);
}

template void gelu_forward(const CudaContext&, float*, const float*, size_t, Gelu);
template void gelu_forward(const CudaContext&, Bf16*, const Bf16*, size_t, Gelu);
template void gelu_backward(const CudaContext&, float*, const float*, const float*, size_t, Gelu);
template void gelu_backward(const CudaContext&, Bf16*, const Bf16*, const Bf16*, size_t, Gelu);

}  // namespace glint
