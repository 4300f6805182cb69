// Attention done plainly in bf16, as FlashAttention's tests do it (its attention_ref with upcast=False): every
// intermediate matrix is rounded to bf16, products accumulate in fp32. It says how good a bf16 kernel must be: its
// error at most twice (outputs), three times (gradients) the error of this, both measured against double.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/kernels/attention_oracle.h"

namespace glint::test {

// To the nearest bf16, ties to even; a NaN stays one.
inline uint16_t bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
inline float bf16_value(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline float bf16(float value) { return bf16_value(bf16_bits(value)); }

// Inputs as a bf16 kernel can hold them.
inline void round_inputs(Problem& x) {
  for (Array* array : {&x.q, &x.k, &x.v, &x.dout}) {
    for (float& value : array->buffer) value = bf16(value);
  }
}

// The keep mask of row i of one head, 1 or 0, of `seen` keys.
inline std::vector<float> mask_row(const Problem& x, int b, int h, int i, int seen) {
  std::vector<float> keep(static_cast<size_t>(seen), 1.0f);
  if (x.dropout.p == 0.0f) return keep;
  const uint64_t sequence_head = (x.rng.first_sequence + b) * x.shape.NH + h;
  for (int j = 0; j < seen; ++j) {
    keep[j] = keep_attention(x.rng.seed, x.rng.offset + x.dropout.site, sequence_head, i, j,
                             keep_rule(x.dropout.p).threshold);
  }
  return keep;
}

// One row of one head; dk, dv are not yet rounded, since later rows and heads add to them.
inline void add_bf16_row(Answer<float>& answer, const Problem& x, int b, int h, int i) {
  const AttentionShape& s = x.shape;
  const int kv = h / (s.NH / s.NKV), seen = s.causal ? i + 1 + s.S - s.T : s.S;
  const float* q = x.q.read().at(b, i, h);
  const float* dout = x.dout.read().at(b, i, h);
  const float factor = keep_rule(x.dropout.p).scale;
  const std::vector<float> keep = mask_row(x, b, h, i, seen);
  std::vector<float> scaled_k(s.HS), scaled_v(s.HS), p(seen), dp(seen);
  for (int j = 0; j < seen; ++j) {
    for (int c = 0; c < s.HS; ++c) scaled_k[c] = bf16(x.k.read().at(b, j, kv)[c] * s.scale);
    for (int c = 0; c < s.HS; ++c) scaled_v[c] = bf16(x.v.read().at(b, j, kv)[c] * factor);
    p[j] = bf16(dot<float>(q, scaled_k.data(), s.HS));
    dp[j] = keep[j] * bf16(dot<float>(dout, scaled_v.data(), s.HS));
  }
  const float max = *std::max_element(p.begin(), p.end());
  float sum = 0.0f;
  for (const float score : p) sum += std::exp(score - max);
  const size_t row = (static_cast<size_t>(b) * s.NH + h) * s.T + i;
  answer.lse[row] = max + std::log(sum);
  float row_sum = 0.0f;
  for (int j = 0; j < seen; ++j) {
    p[j] = bf16(std::exp(p[j] - max) / sum);
    row_sum += p[j] * dp[j];
  }
  for (int j = 0; j < seen; ++j) {
    const float ds = bf16(p[j] * (dp[j] - row_sum));
    const size_t to_query = row * s.HS, to_key = ((static_cast<size_t>(b) * s.NKV + kv) * s.S + j) * s.HS;
    for (int c = 0; c < s.HS; ++c) {
      answer.out[to_query + c] += keep[j] * p[j] * bf16(x.v.read().at(b, j, kv)[c] * factor);
      answer.dq[to_query + c] += ds * bf16(x.k.read().at(b, j, kv)[c] * s.scale);
      answer.dk[to_key + c] += ds * q[c];
      answer.dv[to_key + c] += keep[j] * p[j] * dout[c];
    }
  }
}

inline Answer<float> plain_bf16(const Problem& x) {
  const AttentionShape& s = x.shape;
  const size_t queries = static_cast<size_t>(s.B) * s.NH * s.T, keys = static_cast<size_t>(s.B) * s.NKV * s.S;
  Answer<float> answer;
  answer.lse.resize(queries);
  answer.out.resize(queries * s.HS);
  answer.dq.resize(queries * s.HS);
  answer.dk.resize(keys * s.HS);
  answer.dv.resize(keys * s.HS);
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int i = 0; i < s.T; ++i) add_bf16_row(answer, x, b, h, i);
    }
  }
  for (float& value : answer.out) value = bf16(value);
  for (float& value : answer.dq) value = bf16(value);
  for (float& value : answer.dk) value = bf16(bf16(value) * s.scale);
  for (float& value : answer.dv) value = bf16(bf16(value) * keep_rule(x.dropout.p).scale);
  return answer;
}

}  // namespace glint::test
