#include "kernels/stochastic_round.h"

#include <cmath>

#include <doctest/doctest.h>

#include "tests/random.h"

using namespace glint;

// No counter of dropout's has this last word: it is a sixteenth or a 32nd of an index that fits into an int.
static_assert(kMomentDomain > 0x7fffffffu / 16);
static_assert(round_stochastically(1.0f, 0xffff).bits == 0x3f80 && round_stochastically(-0.0f, 0xffff).bits == 0x8000);

TEST_CASE("stochastic rounding: one of the two neighbours, and the value itself on average") {
  test::RandomInputs inputs(1607);
  INFO("seed ", inputs.seed);
  constexpr int kDraws = 20000;
  std::vector<float> values = inputs.normal(20);
  for (const float value : {1e-42f, 3e-39f, 1.0f, -1.00001f, 65535.9f, 3e38f}) values.push_back(value);
  for (const float value : values) {
    const float low = to_float(round_stochastically(value, 0)), high = to_float(round_stochastically(value, 0xffff));
    double sums[2] = {};
    for (uint64_t step = 0; step < kDraws; ++step) {
      const uint32_t word = philox4x32<10>(moment_counter(7, step), philox_key(inputs.seed)).y;
      const float rounded[2] = {to_float(round_first_moment(value, word)), to_float(round_second_moment(value, word))};
      for (int moment : {0, 1}) {
        if (rounded[moment] != low) REQUIRE(rounded[moment] == high);
        sums[moment] += rounded[moment];
      }
    }
    const double gap = std::abs(static_cast<double>(high) - low), share = gap == 0 ? 0 : std::abs(value - low) / gap;
    const double deviation = gap * std::sqrt(share * (1 - share) / kDraws);
    INFO(value);
    for (const double sum : sums) CHECK(std::abs(sum / kDraws - value) <= 4.5 * deviation + 1e-6 * gap);
  }
}

TEST_CASE("stochastic rounding: infinity and NaN stay; what is near the largest number may become infinite") {
  const float infinity = INFINITY;
  for (const uint32_t random : {0u, 0x7fffu, 0xffffu}) {
    CHECK(to_float(round_stochastically(infinity, random)) == infinity);
    CHECK(to_float(round_stochastically(-infinity, random)) == -infinity);
    for (const uint32_t nan : {0x7fffffffu, 0x7f800001u, 0xffc00000u})
      CHECK(std::isnan(to_float(round_stochastically(__builtin_bit_cast(float, nan), random))));
  }
  CHECK(std::isinf(to_float(round_stochastically(3.4028235e38f, 0xffff))));
  CHECK(std::isfinite(to_float(round_stochastically(3.4028235e38f, 0))));
}
