#include "kernels/cpu/simd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace glint {
namespace {

using simd::Floats;
using simd::kWidth;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every float from `first` to `last`, in steps of `step` units in the last place, one vector at a time.
template <typename F>
void sweep(float first, float last, int step, const F& f) {
  int32_t bits, end;
  std::memcpy(&bits, &first, sizeof bits);
  std::memcpy(&end, &last, sizeof end);
  for (; bits < end; bits += step * kWidth) {
    float x[kWidth];
    for (int lane = 0; lane < kWidth; ++lane) {
      const int32_t at = bits + step * lane;
      std::memcpy(&x[lane], &at, sizeof at);
    }
    f(simd::load(x));
  }
}

TEST_CASE("exp2 is within 1.5 units in the last place") {
  double worst = 0.0;
  const auto check = [&](Floats x) {
    const Floats y = simd::exp2(x);
    for (int lane = 0; lane < kWidth; ++lane) {
      const double truth = std::exp2(static_cast<double>(x[lane]));
      worst = std::max(worst, std::abs(y[lane] - truth) / (std::exp2(std::floor(std::log2(truth))) * 0x1p-23));
    }
  };
  sweep(0x1p-20f, 126.0f, 997, check);
  sweep(0x1p-20f, 125.0f, 997, [&](Floats x) { check(-x); });
  CHECK(worst < 1.5);
  CHECK(simd::exp2(Floats{})[0] == 1.0f);
  CHECK(simd::exp2(simd::broadcast(-1.0f))[0] == 0.5f);
  CHECK(simd::exp2(simd::broadcast(-200.0f))[0] == 0.0f);
  CHECK(simd::exp2(simd::broadcast(-kInfinity))[0] == 0.0f);
  CHECK(std::isnan(simd::exp2(simd::broadcast(std::nanf("")))[0]));
}

TEST_CASE("log2 is within 2.5 units in the last place") {
  double worst = 0.0;
  sweep(0x1p-100f, 0x1p100f, 9973, [&](Floats x) {
    const Floats y = simd::log2(x);
    for (int lane = 0; lane < kWidth; ++lane) {
      const double truth = std::log2(static_cast<double>(x[lane]));
      worst =
          std::max(worst, std::abs(y[lane] - truth) / (std::exp2(std::floor(std::log2(std::abs(truth)))) * 0x1p-23));
    }
  });
  CHECK(worst < 2.5);
  CHECK(simd::log2(simd::broadcast(1.0f))[0] == 0.0f);
  CHECK(simd::log2(simd::broadcast(8.0f))[0] == 3.0f);
  CHECK(std::isnan(simd::log2(simd::broadcast(std::nanf("")))[0]));
}

TEST_CASE("masks of lanes") {
  for (int count = -1; count <= kWidth + 1; ++count) {
    const simd::Ints mask = simd::first_lanes(count);
    const Floats kept = simd::keep_where(mask, simd::broadcast(3.0f));
    const Floats chosen = simd::select(mask, simd::broadcast(3.0f), simd::broadcast(kInfinity));
    for (int lane = 0; lane < kWidth; ++lane) {
      CHECK(mask[lane] == (lane < count ? -1 : 0));
      CHECK(kept[lane] == (lane < count ? 3.0f : 0.0f));
      CHECK(chosen[lane] == (lane < count ? 3.0f : kInfinity));
    }
  }
  uint8_t bytes[kWidth];
  for (int lane = 0; lane < kWidth; ++lane) bytes[lane] = lane % 3 ? 0xff : 0;
  const simd::Ints expanded = simd::expand_bytes(bytes);
  for (int lane = 0; lane < kWidth; ++lane) CHECK(expanded[lane] == (lane % 3 ? -1 : 0));
}

TEST_CASE("larger keeps a NaN of its second argument") {
  const Floats one = simd::broadcast(1.0f), nan = simd::broadcast(std::nanf(""));
  CHECK(std::isnan(simd::larger(one, nan)[0]));
  CHECK(simd::larger(nan, one)[0] == 1.0f);
  CHECK(simd::larger(one, simd::broadcast(2.0f))[0] == 2.0f);
  CHECK(simd::larger(simd::broadcast(2.0f), one)[0] == 2.0f);
}

TEST_CASE("broadcast keeps the sign of zero") { CHECK(std::signbit(simd::broadcast(-0.0f)[0])); }

}  // namespace
}  // namespace glint
