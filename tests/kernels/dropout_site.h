// Dropout sites for tests, and their masks in the row layout by the scalar definition.
#pragma once

#include <vector>

#include "kernels/dropout.h"
#include "tests/kernels/guarded.h"

namespace glint::test {

// What dropout multiplies each element of (B, T, C) with.
inline std::vector<float> row_factors(float p, const RngState& rng, uint64_t site, int B, int T, int C) {
  const KeepRule rule = keep_rule(p);
  std::vector<float> factors;
  for (int b = 0; b < B; ++b)
    for (int t = 0; t < T; ++t)
      for (int c = 0; c < C; ++c) {
        const bool keep =
            p == 0.0f || keep_row(rng.seed, rng.offset + site, rng.first_sequence + static_cast<uint64_t>(b),
                                  static_cast<uint32_t>(t), static_cast<uint32_t>(c), rule.threshold);
        factors.push_back(keep ? rule.scale : 0.0f);
      }
  return factors;
}

// A site whose RNG state lies in the backend's memory. With p = 0 it has none.
struct TestSite {
  TestSite(float probability, const RngState& rng_state, uint64_t first = 96)
      : p(probability),
        rng(rng_state),
        site(first),
        state(rng),
        dropout(p > 0.0f ? Dropout(p, state.data(), site) : Dropout{}) {}
  std::vector<float> factors(int B, int T, int C) const { return row_factors(p, rng, site, B, T, C); }

  float p;
  RngState rng;
  uint64_t site;
  OnDevice<RngState> state;
  Dropout dropout;
};

// States whose offsets reach into the high word, and carry into it from sequence to sequence.
inline const RngState kRngStates[] = {
    {77, 0, 2, 3}, {0x123456789abcdef0u, 0xffffffe0u, 3, 5}, {9, (uint64_t{5} << 32) - 64, 0, 1}};

}  // namespace glint::test
