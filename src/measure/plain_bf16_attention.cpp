// Attention as a framework computes it in bf16: products with fp32 sums, softmax in fp32, every matrix rounded to bf16
// when it is stored.
#include <algorithm>
#include <cmath>

#include "src/measure/attention_error.h"

namespace glint {

namespace {

float rounded(float value) { return to_float(to_bf16(value)); }

float dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}
void add(float* to, const float* from, float factor, int n) {
  for (int c = 0; c < n; ++c) to[c] += factor * from[c];
}

}  // namespace

AttentionResults<float> run_plain_bf16(const AttentionCase& given) {
  const AttentionCase x = rounded_to_bf16(given);
  const AttentionShape& s = x.shape;
  const Dropout dropout(x.p, &x.rng, 0);
  const std::vector<float> of_queries(x.q.size()), of_keys(x.k.size());
  AttentionResults<float> r{of_queries, of_queries, of_keys, of_keys};
  std::vector<float> p(static_cast<size_t>(s.S)), factors(p), dp(p);
  for (int b = 0; b < s.B; ++b) {
    for (int row = 0; row < s.NH * s.T; ++row) {
      const int h = row / s.T, i = row % s.T, n = s.causal ? i + s.S - s.T + 1 : s.S;
      const DropoutMask mask(dropout, s.NH, b, h);
      const size_t query = ((static_cast<size_t>(b) * s.T + i) * s.NH + h) * s.HS;
      const auto key = [&](size_t j) {
        return ((static_cast<size_t>(b) * s.S + j) * s.NKV + h / (s.NH / s.NKV)) * s.HS;
      };
      float max = -INFINITY, sum = 0, row_sum = 0;
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
        p[j] = rounded(s.scale * dot(x.q.data() + query, x.k.data() + key(j), s.HS));
        max = std::max(max, p[j]);
        factors[j] = mask.keeps_attention(static_cast<uint32_t>(i), static_cast<uint32_t>(j)) ? mask.scale : 0;
        dp[j] = rounded(factors[j] * rounded(dot(x.dout.data() + query, x.v.data() + key(j), s.HS)));
      }
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) sum += p[j] = std::exp(p[j] - max);
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) row_sum += (p[j] = rounded(p[j] / sum)) * dp[j];
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
        const float dropped = rounded(factors[j] * p[j]), ds = rounded(p[j] * (dp[j] - row_sum));
        add(r.out.data() + query, x.v.data() + key(j), dropped, s.HS);
        add(r.dv.data() + key(j), x.dout.data() + query, dropped, s.HS);
        add(r.dq.data() + query, x.k.data() + key(j), s.scale * ds, s.HS);
        add(r.dk.data() + key(j), x.q.data() + query, s.scale * ds, s.HS);
      }
    }
  }
  for (auto* array : {&r.out, &r.dq, &r.dk, &r.dv})
    for (float& value : *array) value = rounded(value);
  return r;
}

}  // namespace glint
