// What the rungs share: the heads of a shape, the arithmetic of a row, and tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/attention_check.h"
#include "kernels/causal_range.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/ladder/ladder.h"

namespace glint::ladder {

using attention::CausalRange;
using attention::row_of;
using simd::dot;

inline constexpr int kTile = 64;  // queries and keys of a tile: whole blocks of the mask, which are 16 x 32

// One query head of one sequence, the key/value head it reads, and its part of the scratch.
struct Head {
  int b, h, kv;
  float *kept, *work;
};

// Calls f(head) for all heads; those that share K and V come one after the other.
template <typename Arguments, typename F>
void for_each_head(const Arguments& a, const ScratchSize& scratch, const F& f) {
  const AttentionShape& s = a.shape;
  attention::check_attention(s, a.dropout);
  float* const work = a.scratch + s.B * static_cast<size_t>(s.NH) * scratch.kept;
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      f(Head{b, h, h / (s.NH / s.NKV), a.scratch + (b * static_cast<size_t>(s.NH) + h) * scratch.kept, work});
    }
  }
}

// A (T, S) matrix of a head, padded to whole tiles.
struct Matrix {
  explicit constexpr Matrix(const AttentionShape& s)
      : rows((s.T + kTile - 1) / kTile * kTile), columns((s.S + kTile - 1) / kTile * kTile) {}
  constexpr size_t size() const { return static_cast<size_t>(rows) * columns; }
  constexpr size_t at(int i, int j) const { return static_cast<size_t>(i) * columns + j; }

  int rows, columns;
};

// kTile queries from i0 and keys from j0; fewer at the end.
struct Tile {
  Tile(const CausalRange& causal, int first_query, int first_key)
      : range(causal), i0(first_query), j0(first_key), queries(std::min(kTile, range.T - first_query)) {}
  // Query i of the tile sees its first visible(i) keys.
  int visible(int i) const { return std::clamp(range.key_end(i0 + i) - j0, 0, kTile); }
  // f(query, key) of the sequence for what is visible.
  template <typename F>
  void for_each_element(const F& f) const {
    for (int i = 0; i < queries; ++i) {
      for (int j = 0; j < visible(i); ++j) f(i0 + i, j0 + j);
    }
  }

  const CausalRange& range;
  int i0, j0, queries;
};
// The first block of queries that sees a key.
inline int first_query_block(const CausalRange& range, int key) { return range.first_query(key) / kTile * kTile; }

template <typename F>
void for_each_tile(const CausalRange& range, const F& f) {
  for (int i0 = 0; i0 < range.T; i0 += kTile) {
    for (int j0 = 0; j0 < range.key_end(i0 + kTile - 1); j0 += kTile) f(Tile(range, i0, j0));
  }
}

// ---- A row.

inline void add_scaled(float* to, const float* from, float factor, int n) {
  for (int c = 0; c < n; c += 8) {
    simd::store(to + c, simd::load<simd::Float8>(to + c) + simd::load<simd::Float8>(from + c) * factor);
  }
}
inline void scale_row(float* row, float factor, int n) {
  for (int c = 0; c < n; ++c) row[c] *= factor;
}
// row = exp(row - max); returns the sum.
inline float exponentials(float* row, int n, float max) {
  float sum = 0.0f;
  for (int j = 0; j < n; ++j) sum += row[j] = std::exp(row[j] - max);
  return sum;
}
// The largest of the row and `start`.
inline float row_max(const float* row, int n, float start = -INFINITY) {
  for (int j = 0; j < n; ++j) start = std::max(start, row[j]);
  return start;
}

// row = softmax(row); returns its log-sum-exp.
inline float softmax(float* row, int n) {
  const float max = row_max(row, n), sum = exponentials(row, n, max);
  scale_row(row, 1.0f / sum, n);
  return max + std::log(sum);
}
// dp, the gradient of P -> dS, that of the scores; both of n elements.
inline void softmax_backward(float* dp, const float* p, int n) {
  float sum = 0.0f;
  for (int j = 0; j < n; ++j) sum += p[j] * dp[j];
  for (int j = 0; j < n; ++j) dp[j] = p[j] * (dp[j] - sum);
}

// ---- Of a head.

// s (queries, stride) = scale * Q K^T where the tile is visible.
template <typename Arguments>
void scores(float* s, int stride, const Arguments& a, const Head& head, const Tile& tile) {
  for (int i = 0; i < tile.queries; ++i) {
    const float* q = a.q.at(head.b, tile.i0 + i, head.h);
    for (int j = 0; j < tile.visible(i); ++j) {
      s[i * stride + j] = a.shape.scale * dot(q, a.k.at(head.b, tile.j0 + j, head.kv), a.shape.HS);
    }
  }
}
// out of the block of queries from i0, divided by the sums, and the log-sum-exp.
inline void finish_rows(const AttentionForward<float>& a, const Head& head, int i0, const float* max,
                        const float* sum) {
  for (int t = i0; t < std::min(i0 + kTile, a.shape.T); ++t) {
    scale_row(a.out.at(head.b, t, head.h), 1.0f / sum[t - i0], a.shape.HS);
    if (a.lse) a.lse[row_of(a.shape, head.b, head.h, t)] = max[t - i0] + std::log(sum[t - i0]);
  }
}
inline void zero(HeadView<float> x, int b, int h, int tokens, int HS) {
  for (int t = 0; t < tokens; ++t) std::fill_n(x.at(b, t, h), HS, 0.0f);
}
// dq; and dk, dv before the first of the heads that add to them.
inline void zero_gradients(const AttentionBackward<float>& a, const Head& head) {
  const AttentionShape& s = a.shape;
  zero(a.dq, head.b, head.h, s.T, s.HS);
  if (head.h % (s.NH / s.NKV) != 0) return;
  zero(a.dk, head.b, head.kv, s.S, s.HS);
  zero(a.dv, head.b, head.kv, s.S, s.HS);
}

}  // namespace glint::ladder
