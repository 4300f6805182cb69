// Which keys a query attends to: those below S and, if causal, those up to its own position, i + (S - T).
#pragma once

#include <algorithm>

#include "kernels/attention.h"

namespace glint::attention {

#ifndef __CUDACC__  // CUDA has its own
using std::max, std::min;
#endif

struct CausalRange {
  GLINT_HOST_DEVICE explicit constexpr CausalRange(const AttentionShape& shape)
      : T(shape.T), S(shape.S), shift(shape.causal ? shape.S - shape.T : shape.S) {}

  GLINT_HOST_DEVICE constexpr bool is_visible(int i, int j) const { return j < S && j <= i + shift; }
  // One past the last key visible to queries up to `last`; the first query that `key` is visible to.
  GLINT_HOST_DEVICE int key_end(int last) const { return min(S, min(last, T - 1) + shift + 1); }
  GLINT_HOST_DEVICE int first_query(int key) const { return max(0, key - shift); }

  int T, S, shift;
};

inline constexpr float kLog2E = 1.44269504f;  // exponentials use base 2: exp(x) = exp2(x * kLog2E)

// Index of row t of a head in a (B, NH, T) array (lse, delta).
GLINT_HOST_DEVICE constexpr int64_t row_of(const AttentionShape& shape, int b, int h, int t) {
  return (static_cast<int64_t>(b) * shape.NH + h) * shape.T + t;
}

}  // namespace glint::attention
