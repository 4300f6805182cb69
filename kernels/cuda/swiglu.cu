#include "kernels/swiglu.h"

#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

// call(place in out, place of the gate in packed, valid elements) for the packs of this thread.
template <typename Scalar, typename Call>
__device__ inline void for_each_packed(int rows, int H, const Call& call) {
  constexpr int kCount = kPack<Scalar>;
  const int parts = (H + kCount - 1) / kCount;
  for_each_pack<1>(static_cast<size_t>(rows) * parts, [&](size_t thread, int) {
    const size_t row = thread / parts;
    const int c = static_cast<int>(thread % parts) * kCount;
    call(row * H + c, row * 2 * H + c, min(kCount, H - c));
  });
}

// Below -87, where x sigmoid(x) is about -1e-36, exp(-x) comes near the end of fp32's range. A NaN stays.
__device__ inline float bounded(float x) { return x < -87.0f ? -87.0f : x; }
__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + ptx::exp2(x * -1.4426950408889634f)); }

template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads) forward_kernel(Scalar* out, const Scalar* packed, int rows, int H) {
  constexpr int kCount = kPack<Scalar>;
  for_each_packed<Scalar>(rows, H, [&](size_t at, size_t gate_at, int valid) {
    const auto gate = load_pack<kCount>(packed + gate_at, valid), up = load_pack<kCount>(packed + gate_at + H, valid);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = bounded(gate[i]) * sigmoid(bounded(gate[i])) * up[i];
    store_pack(out + at, values, valid);
  });
}

template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads) backward_kernel(Scalar* packed, const Scalar* dout, int rows, int H) {
  constexpr int kCount = kPack<Scalar>;
  for_each_packed<Scalar>(rows, H, [&](size_t at, size_t gate_at, int valid) {
    Scalar *const gates = packed + gate_at, *const ups = gates + H;
    const auto gate = load_pack<kCount>(gates, valid), up = load_pack<kCount>(ups, valid),
               gradient = load_pack<kCount>(dout + at, valid);
    float dgate[kCount], dup[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float x = bounded(gate[i]), s = sigmoid(x);
      dgate[i] = gradient[i] * up[i] * s * (1.0f + x * (1.0f - s));
      dup[i] = gradient[i] * x * s;
    }
    store_pack(gates, dgate, valid);
    store_pack(ups, dup, valid);
  });
}

template <typename Scalar>
Launch launch_of(int rows, int H) {
  const auto parts = static_cast<size_t>((H + kPack<Scalar> - 1) / kPack<Scalar>);
  return flat_launch(static_cast<size_t>(rows) * parts, 1);
}

}  // namespace

template <typename Scalar>
void swiglu_forward(const CudaContext& ctx, Scalar* out, const Scalar* packed, int rows, int H) {
  const auto what = [&] { return str_cat("swiglu_forward, rows ", rows, ", H ", H); };
  launch(ctx, launch_of<Scalar>(rows, H), what, forward_kernel<Scalar>, out, packed, rows, H);
}

template <typename Scalar>
void swiglu_backward(const CudaContext& ctx, Scalar* packed, const Scalar* dout, int rows, int H) {
  const auto what = [&] { return str_cat("swiglu_backward, rows ", rows, ", H ", H); };
  launch(ctx, launch_of<Scalar>(rows, H), what, backward_kernel<Scalar>, packed, dout, rows, H);
}

template void swiglu_forward(const CudaContext&, float*, const float*, int, int);
template void swiglu_forward(const CudaContext&, Bf16*, const Bf16*, int, int);
template void swiglu_backward(const CudaContext&, float*, const float*, int, int);
template void swiglu_backward(const CudaContext&, Bf16*, const Bf16*, int, int);

}  // namespace glint
