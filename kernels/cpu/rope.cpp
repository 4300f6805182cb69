#include "kernels/rope.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {

template <typename Scalar>
void rope(const CpuContext& ctx, Scalar* packed, const RopeShape& shape, Turn turn) {
  constexpr int kMostPairs = 128;
  using simd::Floats;
  const int pairs = shape.HS / 2, first = shape.first_position ? *shape.first_position : 0;
  GLINT_CHECK(shape.HS % 2 == 0 && pairs <= kMostPairs, "heads of ", shape.HS, " channels");
  const auto T = static_cast<size_t>(shape.T), stride = static_cast<size_t>(shape.stride),
             n = static_cast<size_t>(pairs);
  float frequency[kMostPairs];
  for (int i = 0; i < pairs; ++i) frequency[i] = rope_frequency(i, shape);
  parallel_ranges(ctx, T, 1, static_cast<size_t>(shape.B) * T * stride, [&](Range range) {
    float cosine[kMostPairs], sine[kMostPairs];
    for (size_t t = range.begin; t < range.end; ++t) {
      for (int i = 0; i < pairs; ++i) {
        const float angle = static_cast<float>(first + static_cast<int>(t)) * frequency[i];
        cosine[i] = std::cos(angle), sine[i] = turn == Turn::forward ? std::sin(angle) : -std::sin(angle);
      }
      for (int b = 0; b < shape.B; ++b) {
        for (int head = 0; head < shape.heads; ++head) {
          Scalar* const x = packed + (static_cast<size_t>(b) * T + t) * stride + static_cast<size_t>(head * shape.HS);
          Scalar* const y = x + n;
          const auto turn_pairs = [&](Floats a, Floats c, Floats cos, Floats sin, auto store_to) {
            store_to(a * cos - c * sin, c * cos + a * sin);
          };
          size_t i = 0;
          for (; i + simd::kWidth <= n; i += simd::kWidth)
            turn_pairs(simd::load(x + i), simd::load(y + i), simd::load(cosine + i), simd::load(sine + i),
                       [&](Floats a, Floats c) { simd::store(x + i, a), simd::store(y + i, c); });
          if (const size_t left = n - i)
            turn_pairs(simd::load_first(x + i, left), simd::load_first(y + i, left), simd::load_first(cosine + i, left),
                       simd::load_first(sine + i, left), [&](Floats a, Floats c) {
                         simd::store_first(x + i, a, left), simd::store_first(y + i, c, left);
                       });
        }
      }
    }
  });
}

template void rope(const CpuContext&, float*, const RopeShape&, Turn);
template void rope(const CpuContext&, Bf16*, const RopeShape&, Turn);

}  // namespace glint
