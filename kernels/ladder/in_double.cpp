// The definition in double, a row at a time.
#include "kernels/bf16.h"
#include "kernels/ladder/head.h"

namespace glint::ladder {
namespace {

struct Product {
  double sum, size;  // size: the sum of the terms' magnitudes
};
Product dot_in_double(const float* a, const float* b, int n) {
  double sums[8] = {}, sizes[8] = {};
  for (int c = 0; c < n; c += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double term = static_cast<double>(a[c + lane]) * b[c + lane];
      sums[lane] += term, sizes[lane] += std::abs(term);
    }
  }
  const auto total = [](const double(&x)[8]) {
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
  };
  return {total(sums), total(sizes)};
}
void add(double* to, const float* from, double factor, int n) {
  for (int c = 0; c < n; ++c) to[c] += factor * from[c];
}
void zero(const HeadView<double>& x, int b, int tokens, int head, int heads, int HS) {
  for (int t = 0; t < tokens; ++t) {
    for (int h = head; h < head + heads; ++h) std::fill_n(x.at(b, t, h), HS, 0.0);
  }
}

}  // namespace

double attention_in_double(const ResultsInDouble& r, const AttentionBackward<float>& a, double* scratch,
                           bool bf16_elements) {
  const auto rounded = [&](double x) { return bf16_elements ? to_float(to_bf16(static_cast<float>(x))) : x; };
  const AttentionShape& s = a.shape;
  const CausalRange range(s);
  attention::check_attention(s, a.dropout);
  const int group = s.NH / s.NKV;
  double ds_terms = 0.0;
#pragma omp parallel for schedule(dynamic) reduction(max : ds_terms)
  for (int head = 0; head < s.B * s.NKV; ++head) {
    const int b = head / s.NKV, kv = head % s.NKV;
    double *const p = scratch + size_t{3} * static_cast<size_t>(head) * static_cast<size_t>(s.S), *const dp = p + s.S,
                  *const terms = dp + s.S;
    zero(r.out, b, s.T, kv * group, group, s.HS), zero(r.dq, b, s.T, kv * group, group, s.HS);
    zero(r.dk, b, s.S, kv, 1, s.HS), zero(r.dv, b, s.S, kv, 1, s.HS);
    for (int row = 0; row < group * s.T; ++row) {
      const int h = kv * group + row / s.T, i = row % s.T, n = range.key_end(i);
      const float *q = a.q.at(b, i, h), *dout = a.dout.at(b, i, h);
      const DropoutMask mask(a.dropout, s.NH, b, h);
      const auto factor = [&](int j) {
        return mask.keeps_attention(static_cast<uint32_t>(i), static_cast<uint32_t>(j)) ? double{mask.scale} : 0.0;
      };
      for (int j = 0; j < n; ++j) {
        const Product product = dot_in_double(dout, a.v.at(b, j, kv), s.HS);
        p[j] = s.scale * dot_in_double(q, a.k.at(b, j, kv), s.HS).sum;
        dp[j] = factor(j) * product.sum, terms[j] = mask.scale * product.size;
      }
      const double max = *std::max_element(p, p + n);
      double sum = 0.0, row_sum = 0.0;  // row_sum: of P * dP, which is dO * O, with O as it is stored
      for (int j = 0; j < n; ++j) sum += p[j] = std::exp(p[j] - max);
      for (int j = 0; j < n; ++j) {
        const double dropped = rounded(factor(j) * (p[j] /= sum));
        add(r.out.at(b, i, h), a.v.at(b, j, kv), dropped, s.HS);
        add(r.dv.at(b, j, kv), dout, dropped, s.HS);
      }
      for (int c = 0; c < s.HS; ++c) row_sum += dout[c] * rounded(r.out.at(b, i, h)[c]);
      for (int j = 0; j < n; ++j) {
        const double ds = s.scale * rounded(p[j] * (dp[j] - row_sum));
        ds_terms = std::max(ds_terms, s.scale * p[j] * terms[j]);
        add(r.dq.at(b, i, h), a.k.at(b, j, kv), ds, s.HS);
        add(r.dk.at(b, j, kv), q, ds, s.HS);
      }
    }
  }
  return ds_terms;
}

}  // namespace glint::ladder
