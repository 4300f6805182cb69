// Attention written plainly, element by element; problems for it; and runs of the kernels on them.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "tests/kernels/dropout_site.h"

namespace glint::test {

// How the arrays of a problem lie.
enum class Layout {
  packed,    // q, k, v side by side per token, as one linear layer writes them: (B, T, (NH + 2*NKV) * HS); needs S == T
  separate,  // (B, heads, tokens + 1, HS) each: a gap behind every head
};

// A (B, tokens, heads, HS) array in a buffer that starts out as NaN, so that what is not written shows.
struct HeadArray {
  int B, tokens, heads, HS;
  int64_t batch_stride, token_stride, head_stride;
  size_t first = 0;
  std::vector<float> buffer = std::vector<float>(static_cast<size_t>(B * batch_stride), std::nanf(""));

  template <typename T>
  HeadView<T> over(T* data) const {
    return {data + first, batch_stride, token_stride, head_stride};
  }
  float* at(int b, int t, int h) { return over(buffer.data()).at(b, t, h); }
  const float* at(int b, int t, int h) const { return over(buffer.data()).at(b, t, h); }
  // value(t, c) for every head.
  template <typename Value>
  void fill(const Value& value) {
    for (int b = 0; b < B; ++b) {
      for (int t = 0; t < tokens; ++t) {
        for (int h = 0; h < heads; ++h) {
          for (int c = 0; c < HS; ++c) at(b, t, h)[c] = value(t, c);
        }
      }
    }
  }
  // In the oracle's order (B, heads, tokens, HS).
  std::vector<float> in_order() const {
    std::vector<float> values;
    for (int b = 0; b < B; ++b) {
      for (int h = 0; h < heads; ++h) {
        for (int t = 0; t < tokens; ++t) values.insert(values.end(), at(b, t, h), at(b, t, h) + HS);
      }
    }
    return values;
  }
  double largest() const { return test::largest(convert<double>(in_order())); }
};

inline AttentionShape attention_shape(int B, int T, int S, int NH, int NKV, int HS, bool causal) {
  return {B, T, S, NH, NKV, HS, causal, 1.0f / std::sqrt(static_cast<float>(HS))};
}

// Inputs, and what a kernel makes of them.
struct AttentionProblem {
  AttentionShape shape;
  HeadArray q, k, v, dout, out, dq, dk, dv;
  std::vector<float> lse;
  RngState rng;
  float p;
  uint64_t site;

  AttentionProblem(const AttentionShape& s, Layout layout, float drop_probability, RandomInputs& inputs)
      : shape(s),
        q(input(layout, s.T, s.NH, 0)),
        k(input(layout, s.S, s.NKV, s.NH)),
        v(input(layout, s.S, s.NKV, s.NH + s.NKV)),
        dout{s.B, s.T, s.NH, s.HS, int64_t{s.T} * s.NH * s.HS, int64_t{s.NH} * s.HS, s.HS},
        out(dout),
        dq(q),
        dk(k),
        dv(v),
        lse(static_cast<size_t>(s.B) * s.NH * s.T, std::nanf("")),
        p(drop_probability) {
    std::normal_distribution<float> normal;
    for (HeadArray* array : {&q, &k, &v, &dout}) array->fill([&](int, int) { return normal(inputs.engine); });
    rng = {inputs.engine(), 0xffffff00 + inputs.engine() % 1000, 0, inputs.engine() % 3};
    site = inputs.engine() % 100;
  }
  template <typename Scalar>
  void round_inputs() {
    for (HeadArray* array : {&q, &k, &v, &dout}) array->buffer = rounded<Scalar>(array->buffer);
  }
  bool keeps(int b, int h, int i, int j) const {
    const uint64_t sequence_head = (rng.first_sequence + b) * shape.NH + h;
    return p == 0.0f || keep_attention(rng.seed, rng.offset + site, sequence_head, i, j, keep_rule(p).threshold);
  }

 private:
  HeadArray input(Layout layout, int tokens, int heads, int first_head) const {
    const AttentionShape& s = shape;
    const int64_t token = int64_t{s.NH + 2 * s.NKV} * s.HS, head = int64_t{tokens + 1} * s.HS;
    if (layout == Layout::separate) return {s.B, tokens, heads, s.HS, heads * head, s.HS, head};
    return {s.B, tokens, heads, s.HS, s.T * token, token, s.HS, static_cast<size_t>(first_head) * s.HS};
  }
};

// (B, heads, tokens, HS) each, lse (B, NH, T).
template <typename Real>
struct AttentionResults {
  std::vector<Real> out, lse, dq, dk, dv;
  // The largest sums of what cancels, in scale * Q K^T and in dS = scale * P * (dP - D): their rounding stays.
  double score_terms = 0, ds_terms = 0;
};

// One row of one head: adds its part to the results.
template <typename Real, typename Round>
void add_row(AttentionResults<Real>& results, const AttentionProblem& x, int b, int h, int i, const Round& round) {
  const AttentionShape& s = x.shape;
  const int kv = h / (s.NH / s.NKV), seen = s.causal ? i + 1 + s.S - s.T : s.S;
  const Real scale = s.scale, factor = keep_rule(x.p).scale;
  const float *q = x.q.at(b, i, h), *dout = x.dout.at(b, i, h);
  std::vector<Real> keep(static_cast<size_t>(seen)), p(keep), dp(keep);
  std::vector<double> terms(keep.size());
  for (int j = 0; j < seen; ++j) {
    const float *k = x.k.at(b, j, kv), *v = x.v.at(b, j, kv);
    Real score = 0, product = 0;
    double score_terms = 0.0;
    for (int c = 0; c < s.HS; ++c) {
      score += q[c] * round(k[c] * scale);
      product += dout[c] * round(v[c] * factor);
      terms[j] += std::abs(static_cast<double>(dout[c]) * v[c] * factor);
      score_terms += std::abs(static_cast<double>(q[c]) * k[c] * scale);
    }
    results.score_terms = std::max(results.score_terms, score_terms);
    keep[j] = x.keeps(b, h, i, j);
    p[j] = round(score);
    dp[j] = keep[j] * round(product);
  }
  const Real max = *std::max_element(p.begin(), p.end());
  Real sum = 0, row_sum = 0;
  for (const Real score : p) sum += std::exp(score - max);
  const size_t row = (static_cast<size_t>(b) * s.NH + h) * s.T + i;
  results.lse[row] = max + std::log(sum);
  for (int j = 0; j < seen; ++j) {
    p[j] = round(std::exp(p[j] - max) / sum);
    row_sum += p[j] * dp[j];
  }
  for (int j = 0; j < seen; ++j) {
    const Real ds = round(p[j] * (dp[j] - row_sum));
    results.ds_terms = std::max(results.ds_terms, static_cast<double>(scale * p[j]) * terms[j]);
    const float *k = x.k.at(b, j, kv), *v = x.v.at(b, j, kv);
    const size_t to_query = row * s.HS, to_key = ((static_cast<size_t>(b) * s.NKV + kv) * s.S + j) * s.HS;
    for (int c = 0; c < s.HS; ++c) {
      results.out[to_query + c] += keep[j] * p[j] * round(v[c] * factor);
      results.dq[to_query + c] += ds * round(k[c] * scale);
      results.dk[to_key + c] += ds * q[c];
      results.dv[to_key + c] += keep[j] * p[j] * dout[c];
    }
  }
}

// round: what every intermediate matrix is rounded by; products accumulate in Real.
template <typename Real, typename Round>
AttentionResults<Real> plain_attention(const AttentionProblem& x, const Round& round) {
  const AttentionShape& s = x.shape;
  const size_t queries = static_cast<size_t>(s.B) * s.NH * s.T, keys = static_cast<size_t>(s.B) * s.NKV * s.S;
  AttentionResults<Real> r;
  r.lse.resize(queries);
  for (auto* of_queries : {&r.out, &r.dq}) of_queries->resize(queries * s.HS);
  for (auto* of_keys : {&r.dk, &r.dv}) of_keys->resize(keys * s.HS);
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int i = 0; i < s.T; ++i) add_row(r, x, b, h, i, round);
    }
  }
  for (auto* of_queries : {&r.out, &r.dq})
    for (Real& value : *of_queries) value = round(value);
  for (Real& value : r.dk) value = round(round(value) * Real{s.scale});
  for (Real& value : r.dv) value = round(round(value) * Real{keep_rule(x.p).scale});
  return r;
}
template <typename Real>
AttentionResults<Real> plain_attention(const AttentionProblem& x) {
  return plain_attention<Real>(x, [](Real value) { return value; });
}

// How good a kernel in Scalar must be, as FlashAttention's tests ask for: its error may be twice (outputs), three times
// (gradients) that of attention done plainly in Scalar, both measured against double.
template <typename Scalar>
struct AttentionBounds {
  AttentionResults<double> exact;
  AttentionResults<float> plain;

  explicit AttentionBounds(const AttentionProblem& x)
      : exact(plain_attention<double>(x)), plain(plain_attention<float>(x)) {
    if (!kBf16) return;
    const std::vector<float> lse = plain.lse;  // fp32 in either case
    plain = plain_attention<float>(x, [](float value) { return to_float(to_bf16(value)); });
    plain.lse = lse;
  }

  // Calls f(name, error, bound) for each result.
  template <typename F>
  void for_each(const AttentionProblem& x, const F& f) const {
    const double roundings = 8 * 0x1p-24, of_scalar = kBf16 ? 0.0 : roundings;  // plain fp32 may be exact by luck
    const auto bound = [](const auto& of_plain, const auto& of_exact, double factor, double unit, double terms = 0.0) {
      return factor * worst_error(of_plain, of_exact) + unit * std::max(largest(of_exact), terms);
    };
    const double q = x.q.largest(), k = x.k.largest(), delta = delta_error(x), ds = exact.ds_terms;
    const double of_out = (kOnCpu ? 2 : 1) * of_scalar;  // exp2 of kernels/cpu/simd.h is off by 1.5 units
    f("out", worst_error(x.out.in_order(), exact.out), bound(plain.out, exact.out, 2, of_out));
    f("lse", worst_error(x.lse, exact.lse), bound(plain.lse, exact.lse, 2, roundings, exact.score_terms));
    f("dq", worst_error(x.dq.in_order(), exact.dq), bound(plain.dq, exact.dq, 3, of_scalar, ds * k) + delta * k);
    f("dk", worst_error(x.dk.in_order(), exact.dk), bound(plain.dk, exact.dk, 3, of_scalar, ds * q) + delta * q);
    f("dv", worst_error(x.dv.in_order(), exact.dv), bound(plain.dv, exact.dv, 3, of_scalar));
  }

 private:
  static constexpr bool kBf16 = sizeof(Scalar) == 2;

  // Of scale * D, D = rowsum(dO * O), by the rounding of the O that forward wrote. It counts with very few keys: plain
  // bf16 then has no error at all in dS, since a softmax over one key is exact.
  static double delta_error(const AttentionProblem& x) {
    if (!kBf16 || x.shape.T >= 16) return 0.0;
    const std::vector<float> dout = x.dout.in_order(), out = x.out.in_order();
    double most = 0.0;
    for (size_t row = 0; row < out.size(); row += x.shape.HS) {
      double terms = 0.0;
      for (size_t c = row; c < row + x.shape.HS; ++c) terms += std::abs(static_cast<double>(dout[c]) * out[c]);
      most = std::max(most, terms);
    }
    return 0x1p-9 * most * x.shape.scale;
  }
};

// The reference kernels, as another backend.
struct ReferenceContext : CpuContext {};
inline void attention_forward(const ReferenceContext& ctx, AttentionForward<float> a) {
  const Guarded<float> scratch(reference_attention_scratch(ctx, a.shape));
  a.scratch = scratch.data();
  reference_attention_forward(ctx, a);
  scratch.values();
}
inline size_t attention_forward_scratch(const ReferenceContext&, const AttentionShape&) { return 0; }
inline size_t attention_backward_scratch(const ReferenceContext& ctx, const AttentionShape& shape) {
  return reference_attention_scratch(ctx, shape);
}
inline void attention_backward(const ReferenceContext& ctx, const AttentionBackward<float>& a) {
  reference_attention_backward(ctx, a);
}

// A HeadArray in the backend's memory, gaps and all.
template <typename Scalar>
struct DeviceHeads {
  explicit DeviceHeads(const HeadArray& from) : array(from), elements(from.buffer) {}
  HeadView<Scalar> view() const { return array.over(elements.data()); }

  const HeadArray& array;
  Guarded<Scalar> elements;
};

// Each runs a kernel on the problem and puts its results into it; backward takes out and lse as they are.
template <typename Scalar, typename AnyContext>
void run_forward(const AnyContext& ctx, AttentionProblem& x, const Dropout& dropout, bool with_lse = true) {
  const DeviceHeads<Scalar> q(x.q), k(x.k), v(x.v), out(x.out);
  const Guarded<float> lse(x.lse), scratch(attention_forward_scratch(ctx, x.shape));
  attention_forward(ctx, AttentionForward<Scalar>{.out = out.view(),
                                                  .lse = with_lse ? lse.data() : nullptr,
                                                  .q = q.view(),
                                                  .k = k.view(),
                                                  .v = v.view(),
                                                  .scratch = scratch.data(),
                                                  .shape = x.shape,
                                                  .dropout = dropout});
  scratch.values();
  x.out.buffer = out.elements.values();
  x.lse = lse.values();
}
template <typename Scalar, typename AnyContext>
void run_backward(const AnyContext& ctx, AttentionProblem& x, const Dropout& dropout) {
  const DeviceHeads<Scalar> q(x.q), k(x.k), v(x.v), out(x.out), dout(x.dout), dq(x.dq), dk(x.dk), dv(x.dv);
  const Guarded<float> lse(x.lse), scratch(attention_backward_scratch(ctx, x.shape));
  attention_backward(ctx, AttentionBackward<Scalar>{.dq = dq.view(),
                                                    .dk = dk.view(),
                                                    .dv = dv.view(),
                                                    .dout = dout.view(),
                                                    .out = out.view(),
                                                    .lse = lse.data(),
                                                    .q = q.view(),
                                                    .k = k.view(),
                                                    .v = v.view(),
                                                    .scratch = scratch.data(),
                                                    .shape = x.shape,
                                                    .dropout = dropout});
  scratch.values();
  x.dq.buffer = dq.elements.values();
  x.dk.buffer = dk.elements.values();
  x.dv.buffer = dv.elements.values();
}
template <typename Scalar, typename AnyContext>
void run_attention(const AnyContext& ctx, AttentionProblem& x) {
  const TestSite site(x.p, x.rng, x.site);
  run_forward<Scalar>(ctx, x, site.dropout);
  run_backward<Scalar>(ctx, x, site.dropout);
}

}  // namespace glint::test
