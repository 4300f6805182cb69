// Which keys a query sees: those below S and, if causal, those up to its own place, i + (S - T).
#pragma once

#include "kernels/cuda/attention/arguments.h"
#include "kernels/cuda/device.cuh"

namespace glint::attention {

struct CausalRange {
  __device__ explicit CausalRange(const AttentionShape& shape)
      : T(shape.T), S(shape.S), shift(shape.causal ? shape.S - shape.T : shape.S) {}

  __device__ bool is_visible(int i, int j) const { return j < S && j <= i + shift; }
  // One past the last key that queries up to `last` see; the first query that sees `key`.
  __device__ int key_end(int last) const { return min(S, min(last, T - 1) + shift + 1); }
  __device__ int first_query(int key) const { return max(0, key - shift); }

  int T, S, shift;
};

// Where row t of a head lies in lse and delta, (B, NH, T).
__device__ inline int64_t row_of(const AttentionShape& shape, int b, int h, int t) {
  return (static_cast<int64_t>(b) * shape.NH + h) * shape.T + t;
}

}  // namespace glint::attention
