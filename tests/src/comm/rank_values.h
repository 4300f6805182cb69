// Inputs of collectives in tests, and the expected results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/random.h"

namespace glint::test {

inline constexpr uint64_t kRankSeed = 20240611;
inline constexpr double kLargestValue = 0x1p62;  // in magnitude

// Of very different magnitudes, so that the order of additions shows in the bits.
template <typename T>
std::vector<T> values_of(size_t n, int rank) {
  uint64_t state = RandomInputs(kRankSeed).seed + n * 16 + static_cast<size_t>(rank);
  std::vector<T> values(n);
  T* out = values.data();
  for (size_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t bits = state ^ (state >> 29);
    out[i] = static_cast<T>(static_cast<int32_t>(bits >> 32)) * static_cast<T>(uint64_t{1} << (bits & 31));
  }
  return values;
}

// The sum in the order of ranks.
template <typename T>
std::vector<T> serial_sum(size_t n, int ranks) {
  std::vector<T> sum = values_of<T>(n, 0);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::vector<T> next = values_of<T>(n, rank);
    T* into = sum.data();
    const T* from = next.data();
    for (size_t i = 0; i < n; ++i) into[i] += from[i];
  }
  return sum;
}

}  // namespace glint::test
