// A thread has the same kCount pairs of all heads of a token, so that it computes their angles once.
#include "kernels/rope.h"

#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kCount = 4;

template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    rope_kernel(Scalar* packed, const RopeShape shape, const float direction) {
  const int pairs = shape.HS / 2, parts = (pairs + kCount - 1) / kCount;
  const int first = shape.first_position ? *shape.first_position : 0;
  for_each_pack<1>(static_cast<size_t>(shape.B) * shape.T * parts, [&](size_t thread, int) {
    const size_t token = thread / parts;
    const int begin = static_cast<int>(thread % parts) * kCount, valid = min(kCount, pairs - begin);
    const int position = first + static_cast<int>(token % shape.T);
    float cosine[kCount], sine[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float angle = static_cast<float>(position) * rope_frequency(begin + i, shape);
      const double half_turns = angle * 0.31830988618379067;  // 1 / pi; cosf() of a large angle needs local memory
      sincospif(static_cast<float>(half_turns - 2 * rint(half_turns / 2)), &sine[i], &cosine[i]);
      sine[i] *= direction;
    }
    Scalar* x = packed + token * shape.stride + begin;
    for (int head = 0; head < shape.heads; ++head, x += shape.HS) {
      const auto a = load_pack<kCount>(x, valid), b = load_pack<kCount>(x + pairs, valid);
      float first_half[kCount], second_half[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        first_half[i] = a[i] * cosine[i] - b[i] * sine[i];
        second_half[i] = b[i] * cosine[i] + a[i] * sine[i];
      }
      store_pack(x, first_half, valid);
      store_pack(x + pairs, second_half, valid);
    }
  });
}

}  // namespace

template <typename Scalar>
void rope(const CudaContext& ctx, Scalar* packed, const RopeShape& shape, Turn turn) {
  const auto what = [&] { return str_cat("rope, B ", shape.B, ", T ", shape.T, ", heads ", shape.heads); };
  const size_t parts = static_cast<size_t>((shape.HS / 2 + kCount - 1) / kCount);
  const size_t threads = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T) * parts;
  launch(ctx, flat_launch(threads, 1), what, rope_kernel<Scalar>, packed, shape, turn == Turn::forward ? 1.0f : -1.0f);
}

template void rope(const CudaContext&, float*, const RopeShape&, Turn);
template void rope(const CudaContext&, Bf16*, const RopeShape&, Turn);

}  // namespace glint
