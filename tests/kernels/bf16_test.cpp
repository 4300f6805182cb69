#include "kernels/bf16.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/vector_loops.h"

namespace glint::test {

TEST_CASE("bf16 vectors round as to_bf16 does, every value and every tie") {
  for (uint32_t upper = 0; upper < 0x10000; upper += simd::kWidth) {
    for (const uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      float values[simd::kWidth];
      Bf16 stored[simd::kWidth], partly[simd::kWidth] = {};
      for (uint32_t lane = 0; lane < simd::kWidth; ++lane)
        values[lane] = std::bit_cast<float>((upper + lane) << 16 | lower);
      simd::store(stored, simd::load(values));
      simd::store_first(partly, simd::load(values), simd::kWidth - 1);
      const simd::Floats back = simd::load(static_cast<const Bf16*>(stored));
      const simd::Floats part = simd::load_first(static_cast<const Bf16*>(stored), simd::kWidth - 1);
      bool same = partly[simd::kWidth - 1].bits == 0 && part[simd::kWidth - 1] == 0.0f;
      for (int lane = 0; lane < simd::kWidth; ++lane) {
        const uint32_t widened = uint32_t{stored[lane].bits} << 16;
        same = same && stored[lane].bits == to_bf16(values[lane]).bits &&
               std::bit_cast<uint32_t>(float(back[lane])) == widened;
        if (lane < simd::kWidth - 1) same = same && partly[lane].bits == stored[lane].bits;
        same = same && std::isnan(to_float(stored[lane])) == std::isnan(values[lane]);
      }
      REQUIRE_MESSAGE(same, "upper half from ", upper, ", lower half ", lower);
    }
  }
}

}  // namespace glint::test
