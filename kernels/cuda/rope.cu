// A thread rotates kCount neighbouring pairs of all heads of a token: it computes their angles once.
#include "kernels/rope.h"

#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kCount = 4;

// Threads of a token.
GLINT_HOST_DEVICE constexpr int parts_of(const RopeShape& shape) { return (shape.HS / 2 + kCount - 1) / kCount; }

template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    rope_kernel(Scalar* packed, const RopeShape shape, const float direction) {
  const int pairs = shape.HS / 2, parts = parts_of(shape);
  const int first = shape.first_position ? *shape.first_position : 0;
  for_each_pack<1>(static_cast<size_t>(shape.B) * shape.T * parts, [&](size_t thread, int) {
    const size_t token = thread / parts;
    const int begin = static_cast<int>(thread % parts) * kCount, valid = min(kCount, pairs - begin);
    const int position = first + static_cast<int>(token % shape.T);
    float cosine[kCount], sine[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float angle = static_cast<float>(position) * rope_frequency(begin + i, shape);
      // In units of pi, reduced to [-1, 1] in double: cosf() of a large angle would need local memory.
      const double half_turns = angle * 0.31830988618379067;  // 1 / pi
      sincospif(static_cast<float>(half_turns - 2 * rint(half_turns / 2)), &sine[i], &cosine[i]);
      sine[i] *= direction;
    }
    Scalar* x = packed + token * shape.stride + begin;
    for (int head = 0; head < shape.heads; ++head, x += shape.HS) {
      const auto low = load_pack<kCount>(x, valid), high = load_pack<kCount>(x + pairs, valid);
      float rotated_low[kCount], rotated_high[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        rotated_low[i] = low[i] * cosine[i] - high[i] * sine[i];
        rotated_high[i] = high[i] * cosine[i] + low[i] * sine[i];
      }
      store_pack(x, rotated_low, valid);
      store_pack(x + pairs, rotated_high, valid);
    }
  });
}

// direction: 1 or -1, the sign of the angles.
template <typename Scalar>
void launch_rope(const CudaContext& ctx, Scalar* packed, const RopeShape& shape, float direction) {
  const auto what = [&] { return str_cat("rope, B ", shape.B, ", T ", shape.T, ", heads ", shape.heads); };
  GLINT_CHECK(shape.HS % 2 == 0, "heads of ", shape.HS, " channels");
  const size_t threads = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T) * parts_of(shape);
  launch(ctx, flat_launch(threads, 1), what, rope_kernel<Scalar>, packed, shape, direction);
}

}  // namespace

template <typename Scalar>
void rope_forward(const CudaContext& ctx, Scalar* packed, const RopeShape& shape) {
  launch_rope(ctx, packed, shape, 1.0f);
}

template <typename Scalar>
void rope_backward(const CudaContext& ctx, Scalar* dpacked, const RopeShape& shape) {
  launch_rope(ctx, dpacked, shape, -1.0f);
}

template void rope_forward(const CudaContext&, float*, const RopeShape&);
template void rope_forward(const CudaContext&, Bf16*, const RopeShape&);
template void rope_backward(const CudaContext&, float*, const RopeShape&);
template void rope_backward(const CudaContext&, Bf16*, const RopeShape&);

}  // namespace glint
