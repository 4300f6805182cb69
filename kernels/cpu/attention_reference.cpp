// A direct implementation of attention: P of one head at a time, in memory. The oracle of the tiled kernels.
#include <algorithm>
#include <cmath>

#include "kernels/attention_check.h"
#include "kernels/causal_range.h"
#include "kernels/cpu/reference_dropout.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {

using namespace attention;

namespace {

using simd::dot;

// The rows of one head of one sequence.
struct Head {
  int b, h, kv;
};

void add_scaled(float* to, const float* from, float factor, int n) {
  for (int c = 0; c < n; ++c) to[c] += factor * from[c];
}

// p (S) = softmax of row i of S, before dropout; returns its log-sum-exp. Masked keys get 0.
float softmax_row(float* p, const AttentionForward<float>& a, HeadDropout& dropout, const Head& head, int i) {
  const int end = CausalRange(a.shape).key_end(i);
  for (int j = 0; j < end; ++j) {
    const bool hidden = dropout.hides(i, j);
    p[j] = hidden ? -INFINITY : a.shape.scale * dot(a.q.at(head.b, i, head.h), a.k.at(head.b, j, head.kv), a.shape.HS);
  }
  const float max = *std::max_element(p, p + end);
  if (max == -INFINITY) return std::fill_n(p, a.shape.S, 0.0f), max;  // all keys are hidden
  float sum = 0.0f;
  for (int j = 0; j < end; ++j) {
    p[j] = std::exp(p[j] - max);
    sum += p[j];
  }
  for (int j = 0; j < end; ++j) p[j] /= sum;
  std::fill(p + end, p + a.shape.S, 0.0f);
  return max + std::log(sum);
}

void zero(HeadView<float> x, int b, int h, int tokens, int HS) {
  for (int t = 0; t < tokens; ++t) std::fill_n(x.at(b, t, h), HS, 0.0f);
}

// dP = dropout'(dO V^T), dS = P * (dP - rowsum(P * dP)), dV = dropout(P)^T dO, dQ = scale * dS K, dK = scale * dS^T Q;
// the row sum is that of dO * O. p: dropout(P); p, ds: (T, S) scratch.
void backward_head(const AttentionBackward<float>& x, const ReferenceDropout& how, float* p, float* ds,
                   const Head& head) {
  const auto [b, h, kv] = head;
  const AttentionShape& shape = x.shape;
  const int HS = shape.HS;
  HeadDropout dropout(x.dropout, shape, how, b, h);
  zero(x.dq, b, h, shape.T, HS);
  for (int i = 0; i < shape.T; ++i) {
    float* p_row = p + static_cast<size_t>(i) * shape.S;
    float* ds_row = ds + static_cast<size_t>(i) * shape.S;
    const float *q = x.q.at(b, i, h), *dout = x.dout.at(b, i, h);
    const float lse = x.lse[row_of(shape, b, h, i)], row_sum = dot(dout, x.out.at(b, i, h), HS);
    const int end = CausalRange(shape).key_end(i);
    for (int j = 0; j < end; ++j) {
      const bool hidden = dropout.hides(i, j);
      const float weight = hidden ? 0.0f : std::exp(shape.scale * dot(q, x.k.at(b, j, kv), HS) - lse);
      const float factor = dropout.factor(i, j);
      ds_row[j] = weight * (factor * dot(dout, x.v.at(b, j, kv), HS) - row_sum);
      p_row[j] = factor * weight;
    }
    for (int j = 0; j < end; ++j) {
      add_scaled(x.dv.at(b, j, kv), dout, p_row[j], HS);
      add_scaled(x.dq.at(b, i, h), x.k.at(b, j, kv), shape.scale * ds_row[j], HS);
      add_scaled(x.dk.at(b, j, kv), q, shape.scale * ds_row[j], HS);
    }
  }
}

}  // namespace

size_t reference_attention_scratch(const CpuContext& ctx, const AttentionShape& shape) {
  return 2 * static_cast<size_t>(ctx.threads) * shape.T * shape.S;  // P and dS of one head per thread
}

void reference_attention_forward(const CpuContext& ctx, const AttentionForward<float>& a, const ReferenceDropout& how) {
  const AttentionShape& shape = a.shape;
  check_attention(shape, a.dropout);
  const int heads = shape.B * shape.NH, parts = std::min(ctx.threads, heads);
#pragma omp parallel for num_threads(ctx.threads) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    float* p = a.scratch + static_cast<size_t>(part) * shape.T * shape.S;  // (T, S)
    for (int index = part; index < heads; index += parts) {
      const Head head{index / shape.NH, index % shape.NH, index % shape.NH / (shape.NH / shape.NKV)};
      HeadDropout dropout(a.dropout, shape, how, head.b, head.h);
      zero(a.out, head.b, head.h, shape.T, shape.HS);
      for (int i = 0; i < shape.T; ++i) {
        float* row = p + static_cast<size_t>(i) * shape.S;
        const float lse = softmax_row(row, a, dropout, head, i);
        if (a.lse) a.lse[row_of(shape, head.b, head.h, i)] = lse;
        const int end = CausalRange(shape).key_end(i);
        dropout.store_row(i, end);
        for (int j = 0; j < end; ++j) {
          const float weight = dropout.factor(i, j) * row[j];
          add_scaled(a.out.at(head.b, i, head.h), a.v.at(head.b, j, head.kv), weight, shape.HS);
        }
      }
    }
  }
}

void reference_attention_backward(const CpuContext& ctx, const AttentionBackward<float>& a,
                                  const ReferenceDropout& how) {
  const AttentionShape& shape = a.shape;
  check_attention(shape, a.dropout);
  const int group = shape.NH / shape.NKV, units = shape.B * shape.NKV, parts = std::min(ctx.threads, units);
  const size_t size = static_cast<size_t>(shape.T) * shape.S;
#pragma omp parallel for num_threads(ctx.threads) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    for (int unit = part; unit < units; unit += parts) {
      const int b = unit / shape.NKV, kv = unit % shape.NKV;
      zero(a.dk, b, kv, shape.S, shape.HS);
      zero(a.dv, b, kv, shape.S, shape.HS);
      for (int h = kv * group; h < (kv + 1) * group; ++h) {
        backward_head(a, how, a.scratch + part * 2 * size, a.scratch + (part * 2 + 1) * size, {b, h, kv});
      }
    }
  }
}

}  // namespace glint
