// Attention from its definition, element by element, in the precision asked for: double is the truth, float what plain
// single precision reaches, so that the bound of a kernel's error can be set relative to it. And random problems to
// try.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "tests/random.h"

namespace glint::test {

// How the arrays of a problem lie.
enum class Layout {
  packed,    // q, k, v side by side per token, as one linear layer writes them: (B, T, (NH + 2*NKV) * HS); needs S == T
  separate,  // (B, heads, tokens + 1, HS) each: a gap behind every head
};

// One array by a view, in a buffer that starts out as NaN, so that what is not written shows.
struct Array {
  Array() = default;
  Array(size_t size, int64_t batch, int64_t token, int64_t head, size_t first = 0)
      : buffer(size, std::numeric_limits<float>::quiet_NaN()), first_(first), view_{nullptr, batch, token, head} {}
  HeadView<float> view() { return {buffer.data() + first_, view_.batch_stride, view_.token_stride, view_.head_stride}; }
  HeadView<const float> read() const {
    return {buffer.data() + first_, view_.batch_stride, view_.token_stride, view_.head_stride};
  }

  std::vector<float> buffer;

 private:
  size_t first_ = 0;
  HeadView<float> view_;
};

inline Array separate_array(const AttentionShape& s, int heads, int tokens) {
  const int64_t head = int64_t{tokens + 1} * s.HS;
  return {static_cast<size_t>(s.B * heads * head), heads * head, s.HS, head};
}

inline Array packed_array(const AttentionShape& s, int first_head) {
  const int64_t token = int64_t{s.NH + 2 * s.NKV} * s.HS;
  return {static_cast<size_t>(s.B * s.T * token), s.T * token, token, s.HS, static_cast<size_t>(first_head) * s.HS};
}

inline void randomise(Array& array, int B, int tokens, int heads, int HS, RandomInputs& inputs) {
  std::normal_distribution<float> normal;
  for (int b = 0; b < B; ++b) {
    for (int t = 0; t < tokens; ++t) {
      for (int h = 0; h < heads; ++h) {
        for (int c = 0; c < HS; ++c) array.view().at(b, t, h)[c] = normal(inputs.engine);
      }
    }
  }
}

// Inputs, and what a kernel makes of them.
struct Problem {
  Problem(const AttentionShape& of_shape, Layout layout, float p, RandomInputs& inputs) : shape(of_shape) {
    const AttentionShape& s = shape;
    const auto make = [&](int heads, int tokens, int first_head) {
      return layout == Layout::packed ? packed_array(s, first_head) : separate_array(s, heads, tokens);
    };
    q = make(s.NH, s.T, 0);
    k = make(s.NKV, s.S, s.NH);
    v = make(s.NKV, s.S, s.NH + s.NKV);
    dq = q, dk = k, dv = v;
    out = {static_cast<size_t>(s.B) * s.T * s.NH * s.HS, int64_t{s.T} * s.NH * s.HS, int64_t{s.NH} * s.HS, s.HS};
    dout = out;
    lse.assign(static_cast<size_t>(s.B) * s.NH * s.T, std::numeric_limits<float>::quiet_NaN());
    randomise(q, s.B, s.T, s.NH, s.HS, inputs);
    randomise(k, s.B, s.S, s.NKV, s.HS, inputs);
    randomise(v, s.B, s.S, s.NKV, s.HS, inputs);
    randomise(dout, s.B, s.T, s.NH, s.HS, inputs);
    rng = {inputs.engine(), 0xffffff00 + inputs.engine() % 1000, 0, inputs.engine() % 3};
    dropout = {p, inputs.engine() % 100};
  }
  // The arguments of the CPU's functions; scratch is not among them.
  AttentionForward<float> forward_arguments() {
    return {.out = out.view(),
            .lse = lse.data(),
            .q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .shape = shape,
            .dropout = {dropout.p, &rng, dropout.site}};
  }
  AttentionBackward<float> backward_arguments() {
    return {.dq = dq.view(),
            .dk = dk.view(),
            .dv = dv.view(),
            .dout = dout.view(),
            .out = out.view(),
            .lse = lse.data(),
            .q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .shape = shape,
            .dropout = {dropout.p, &rng, dropout.site}};
  }

  AttentionShape shape;
  Array q, k, v, dout, out, dq, dk, dv;
  std::vector<float> lse;
  RngState rng;
  struct {
    float p;
    uint64_t site;
  } dropout;
};

// What the definition gives: (B, heads, tokens, HS) each, lse (B, NH, T).
template <typename Scalar>
struct Answer {
  std::vector<Scalar> out, lse, dq, dk, dv;
  double ds_terms = 0;  // the largest sum of what cancels in dS = scale * P * (dP - D): its rounding stays in dQ and dK
};

inline double dot_of_magnitudes(const float* a, const float* b, int n) {
  double sum = 0.0;
  for (int c = 0; c < n; ++c) sum += std::abs(static_cast<double>(a[c]) * b[c]);
  return sum;
}

template <typename Scalar>
Scalar dot(const float* a, const float* b, int n) {
  Scalar sum = 0;
  for (int c = 0; c < n; ++c) sum += static_cast<Scalar>(a[c]) * static_cast<Scalar>(b[c]);
  return sum;
}

// One row of one head: adds its part to the answer.
template <typename Scalar>
void add_row(Answer<Scalar>& answer, const Problem& problem, int b, int h, int i) {
  const AttentionShape& s = problem.shape;
  const int kv = h / (s.NH / s.NKV), seen = s.causal ? i + 1 + s.S - s.T : s.S;
  const Scalar scale = s.scale;
  std::vector<Scalar> p(static_cast<size_t>(seen)), dropped(p), dp(p);
  for (int j = 0; j < seen; ++j)
    p[j] = scale * dot<Scalar>(problem.q.read().at(b, i, h), problem.k.read().at(b, j, kv), s.HS);
  const Scalar max = *std::max_element(p.begin(), p.end());
  Scalar sum = 0;
  for (Scalar& x : p) sum += x = std::exp(x - max);
  const size_t row = (static_cast<size_t>(b) * s.NH + h) * s.T + i;
  answer.lse[row] = max + std::log(sum);
  const KeepRule rule = keep_rule(problem.dropout.p);
  const RngState& rng = problem.rng;
  const uint64_t sequence_head = (rng.first_sequence + b) * s.NH + h;
  Scalar row_sum = 0;
  for (int j = 0; j < seen; ++j) {
    const bool kept = problem.dropout.p == 0.0f ||
                      keep_attention(rng.seed, rng.offset + problem.dropout.site, sequence_head, i, j, rule.threshold);
    const Scalar factor = kept ? static_cast<Scalar>(rule.scale) : 0;
    p[j] /= sum;
    dropped[j] = factor * p[j];
    dp[j] = factor * dot<Scalar>(problem.dout.read().at(b, i, h), problem.v.read().at(b, j, kv), s.HS);
    row_sum += p[j] * dp[j];
  }
  for (int j = 0; j < seen; ++j) {
    const Scalar ds = scale * p[j] * (dp[j] - row_sum);
    const double terms = dot_of_magnitudes(problem.dout.read().at(b, i, h), problem.v.read().at(b, j, kv), s.HS);
    answer.ds_terms = std::max(answer.ds_terms, static_cast<double>(scale * p[j]) * terms);
    const size_t to_query = row * s.HS, to_key = ((static_cast<size_t>(b) * s.NKV + kv) * s.S + j) * s.HS;
    for (int c = 0; c < s.HS; ++c) {
      answer.out[to_query + c] += dropped[j] * problem.v.read().at(b, j, kv)[c];
      answer.dv[to_key + c] += dropped[j] * problem.dout.read().at(b, i, h)[c];
      answer.dq[to_query + c] += ds * problem.k.read().at(b, j, kv)[c];
      answer.dk[to_key + c] += ds * problem.q.read().at(b, i, h)[c];
    }
  }
}

template <typename Scalar>
Answer<Scalar> oracle(const Problem& problem) {
  const AttentionShape& s = problem.shape;
  const size_t queries = static_cast<size_t>(s.B) * s.NH * s.T, keys = static_cast<size_t>(s.B) * s.NKV * s.S;
  Answer<Scalar> answer;
  answer.lse.resize(queries);
  answer.out.resize(queries * s.HS);
  answer.dq.resize(queries * s.HS);
  answer.dk.resize(keys * s.HS);
  answer.dv.resize(keys * s.HS);
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int i = 0; i < s.T; ++i) add_row(answer, problem, b, h, i);
    }
  }
  return answer;
}

// An array in the oracle's order (B, heads, tokens, HS).
inline std::vector<float> in_order(const Array& array, int B, int heads, int tokens, int HS) {
  std::vector<float> values;
  for (int b = 0; b < B; ++b) {
    for (int h = 0; h < heads; ++h) {
      for (int t = 0; t < tokens; ++t) {
        const float* row = array.read().at(b, t, h);
        values.insert(values.end(), row, row + HS);
      }
    }
  }
  return values;
}

// The largest distance, NaN counted as infinite; and the largest magnitude.
template <typename A>
double distance(const std::vector<A>& a, const std::vector<double>& truth) {
  double worst = 0.0;
  for (size_t n = 0; n < truth.size(); ++n) {
    const double error = std::abs(static_cast<double>(a[n]) - truth[n]);
    worst = error <= worst ? worst : (error > 0.0 ? error : std::numeric_limits<double>::infinity());
  }
  return worst;
}
template <typename A>
double magnitude(const std::vector<A>& values) {
  double most = 0.0;
  for (const A x : values) most = std::max(most, static_cast<double>(std::abs(x)));
  return most;
}

}  // namespace glint::test
