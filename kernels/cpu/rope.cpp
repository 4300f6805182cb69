#include "kernels/rope.h"

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats, simd::TwoFloats;

constexpr int kMaxPairs = 128;

// direction: 1 or -1, the sign of the angles.
template <typename Scalar>
void rotate(const CpuContext& ctx, Scalar* packed, const RopeShape& shape, float direction) {
  GLINT_CHECK(shape.HS % 2 == 0 && shape.HS <= 2 * kMaxPairs, "heads of ", shape.HS, " channels");
  const int first = shape.first_position ? *shape.first_position : 0;
  const auto B = static_cast<size_t>(shape.B), T = static_cast<size_t>(shape.T),
             heads = static_cast<size_t>(shape.heads), stride = static_cast<size_t>(shape.stride),
             HS = static_cast<size_t>(shape.HS), pairs = HS / 2;
  float frequency[kMaxPairs];
  for (size_t i = 0; i < pairs; ++i) frequency[i] = rope_frequency(static_cast<int>(i), shape);
  parallel_ranges(ctx, T, 1, B * T * stride, [&](Range range) {
    float cosine[kMaxPairs], sine[kMaxPairs];  // of a position's angles, for all sequences and heads
    for (size_t t = range.begin; t < range.end; ++t) {
      for (size_t i = 0; i < pairs; ++i) {
        const float angle = static_cast<float>(first + static_cast<int>(t)) * frequency[i];
        cosine[i] = std::cos(angle), sine[i] = direction * std::sin(angle);
      }
      for (size_t b = 0; b < B; ++b) {
        for (size_t head = 0; head < heads; ++head) {
          Scalar* const x = packed + (b * T + t) * stride + head * HS;
          const auto rotate_pairs = [](Floats low, Floats high, Floats c, Floats s) -> TwoFloats {
            return {low * c - high * s, high * c + low * s};
          };
          simd::map_two(x, x + pairs, pairs, rotate_pairs, x, x + pairs, cosine, sine);
        }
      }
    }
  });
}

}  // namespace

template <typename Scalar>
void rope_forward(const CpuContext& ctx, Scalar* packed, const RopeShape& shape) {
  rotate(ctx, packed, shape, 1.0f);
}

template <typename Scalar>
void rope_backward(const CpuContext& ctx, Scalar* dpacked, const RopeShape& shape) {
  rotate(ctx, dpacked, shape, -1.0f);
}

template void rope_forward(const CpuContext&, float*, const RopeShape&);
template void rope_forward(const CpuContext&, Bf16*, const RopeShape&);
template void rope_backward(const CpuContext&, float*, const RopeShape&);
template void rope_backward(const CpuContext&, Bf16*, const RopeShape&);

}  // namespace glint
