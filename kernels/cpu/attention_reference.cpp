// Attention written plainly: P of one head at a time, in memory. What the tiled kernels are held against.
#include <algorithm>
#include <cmath>

#include "kernels/attention_check.h"
#include "kernels/cpu/simd.h"

namespace glint {
namespace {

using simd::dot;

// One head of one sequence: where its rows are.
struct Head {
  int64_t b, h, kv;
};

int keys_seen(const AttentionShape& shape, int i) { return shape.causal ? i + 1 + shape.S - shape.T : shape.S; }

void add_scaled(float* to, const float* from, float factor, int n) {
  for (int c = 0; c < n; ++c) to[c] += factor * from[c];
}

// What dropout makes of element (i, j): 0 if it is dropped, else 1 / (1-p).
class Mask {
 public:
  Mask(const AttentionShape& shape, const Dropout& dropout, const Head& head)
      : dropout_(dropout), rule_(keep_rule(dropout.p)) {
    if (dropout.on()) sequence_head_ = (dropout.rng->first_sequence + head.b) * shape.NH + head.h;
  }
  float operator()(int i, int j) const {
    if (!dropout_.on()) return 1.0f;
    const bool kept = keep_attention(dropout_.rng->seed, dropout_.rng->offset + dropout_.site, sequence_head_,
                                     static_cast<uint32_t>(i), static_cast<uint32_t>(j), rule_.threshold);
    return kept ? rule_.scale : 0.0f;
  }

 private:
  Dropout dropout_;
  KeepRule rule_;
  uint64_t sequence_head_ = 0;
};

// p (S) = softmax of row i of S, before dropout; returns its log-sum-exp. Keys not seen get 0.
float softmax_row(float* p, HeadView<const float> q, HeadView<const float> k, const AttentionShape& shape,
                  const Head& head, int i) {
  const int seen = keys_seen(shape, i);
  for (int j = 0; j < seen; ++j) p[j] = shape.scale * dot(q.at(head.b, i, head.h), k.at(head.b, j, head.kv), shape.HS);
  const float max = *std::max_element(p, p + seen);
  float sum = 0.0f;
  for (int j = 0; j < seen; ++j) {
    p[j] = std::exp(p[j] - max);
    sum += p[j];
  }
  for (int j = 0; j < seen; ++j) p[j] /= sum;
  std::fill(p + seen, p + shape.S, 0.0f);
  return max + std::log(sum);
}

void zero(HeadView<float> x, int64_t b, int64_t h, int tokens, int HS) {
  for (int t = 0; t < tokens; ++t) std::fill_n(x.at(b, t, h), HS, 0.0f);
}

struct Backward {
  HeadView<float> dq, dk, dv;
  HeadView<const float> dout, out, q, k, v;
  const float* lse;  // (B, NH, T)
};

// dP = dropout'(dO V^T), dS = P * (dP - rowsum(P * dP)), dV = dropout(P)^T dO, dQ = scale * dS K, dK = scale * dS^T Q;
// the row sum is that of dO * O. p, ds: (T, S) scratch.
void backward_head(const Backward& x, float* p, float* ds, const AttentionShape& shape, const Dropout& dropout,
                   const Head& head) {
  const auto [b, h, kv] = head;
  const int HS = shape.HS;
  const Mask mask(shape, dropout, head);
  zero(x.dq, b, h, shape.T, HS);
  for (int i = 0; i < shape.T; ++i) {
    float* p_row = p + static_cast<size_t>(i) * shape.S;
    float* ds_row = ds + static_cast<size_t>(i) * shape.S;
    const float *q = x.q.at(b, i, h), *dout = x.dout.at(b, i, h);
    const float lse = x.lse[(b * shape.NH + h) * shape.T + i], row_sum = dot(dout, x.out.at(b, i, h), HS);
    for (int j = 0; j < keys_seen(shape, i); ++j) {
      p_row[j] = std::exp(shape.scale * dot(q, x.k.at(b, j, kv), HS) - lse);
      ds_row[j] = p_row[j] * (mask(i, j) * dot(dout, x.v.at(b, j, kv), HS) - row_sum);
    }
    for (int j = 0; j < keys_seen(shape, i); ++j) {
      add_scaled(x.dv.at(b, j, kv), dout, mask(i, j) * p_row[j], HS);
      add_scaled(x.dq.at(b, i, h), x.k.at(b, j, kv), shape.scale * ds_row[j], HS);
      add_scaled(x.dk.at(b, j, kv), q, shape.scale * ds_row[j], HS);
    }
  }
}

}  // namespace

size_t reference_attention_scratch(const CpuContext& ctx, const AttentionShape& shape) {
  return 2 * static_cast<size_t>(ctx.threads) * shape.T * shape.S;  // P and dS of one head per thread
}

void reference_attention_forward(const CpuContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                                 HeadView<const float> k, HeadView<const float> v, float* scratch,
                                 const AttentionShape& shape, const Dropout& dropout) {
  attention::check_attention(shape, dropout);
  const int heads = shape.B * shape.NH, parts = std::min(ctx.threads, heads);
#pragma omp parallel for num_threads(ctx.threads) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    float* p = scratch + static_cast<size_t>(part) * shape.T * shape.S;  // (T, S)
    for (int index = part; index < heads; index += parts) {
      const Head head{index / shape.NH, index % shape.NH, index % shape.NH / (shape.NH / shape.NKV)};
      const Mask mask(shape, dropout, head);
      zero(out, head.b, head.h, shape.T, shape.HS);
      for (int i = 0; i < shape.T; ++i) {
        float* row = p + static_cast<size_t>(i) * shape.S;
        const float row_lse = softmax_row(row, q, k, shape, head, i);
        if (lse) lse[int64_t{index} * shape.T + i] = row_lse;
        for (int j = 0; j < keys_seen(shape, i); ++j) {
          add_scaled(out.at(head.b, i, head.h), v.at(head.b, j, head.kv), mask(i, j) * row[j], shape.HS);
        }
      }
    }
  }
}

void reference_attention_backward(const CpuContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                                  HeadView<const float> dout, HeadView<const float> out, const float* lse,
                                  HeadView<const float> q, HeadView<const float> k, HeadView<const float> v,
                                  float* scratch, const AttentionShape& shape, const Dropout& dropout) {
  attention::check_attention(shape, dropout);
  const int group = shape.NH / shape.NKV, units = shape.B * shape.NKV, parts = std::min(ctx.threads, units);
  const size_t size = static_cast<size_t>(shape.T) * shape.S;
  const Backward x{dq, dk, dv, dout, out, q, k, v, lse};
#pragma omp parallel for num_threads(ctx.threads) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    for (int unit = part; unit < units; unit += parts) {
      const int64_t b = unit / shape.NKV, kv = unit % shape.NKV;
      zero(dk, b, kv, shape.S, shape.HS);
      zero(dv, b, kv, shape.S, shape.HS);
      for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
        backward_head(x, scratch + part * 2 * size, scratch + (part * 2 + 1) * size, shape, dropout, {b, h, kv});
      }
    }
  }
}

}  // namespace glint
