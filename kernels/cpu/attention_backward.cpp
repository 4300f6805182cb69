// Attention backward on the CPU: FlashAttention-2's Algorithm 2 with the five products of a tile.
//
// A unit of work is (sequence, KV head, range of keys): it owns the dK and dV of its keys, and goes through the query
// blocks that see them, of every query head of the group. Where heads alone would not feed the threads, keys are cut into
// several ranges; each then has its own partial dQ in scratch, and these are summed in order at the end.
#include <omp.h>

#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/attention_tile.h"

namespace glint {
namespace attention {
namespace {

// What one thread works with, cut from scratch.
struct Workspace {
  Workspace(float* scratch, int HS)
      : q_t(scratch),
        dout_t(q_t + HS * kQueries),
        q(dout_t + HS * kQueries),
        dout(q + kQueries * HS),
        dq(dout + kQueries * HS),
        k(dq + kQueries * HS),
        p(k + kKeys * HS),
        ds(p + kKeys * kQueries),
        lse(ds + kKeys * kQueries),
        row_sum(lse + kQueries),
        keep(reinterpret_cast<uint8_t*>(row_sum + kQueries)) {}
  static size_t size(int HS) { return static_cast<size_t>(6 * kQueries * HS + 2 * kKeys * kQueries + 2 * kQueries + kKeys * kQueries / 4); }

  float *q_t, *dout_t;   // (HS, kQueries): q * scale * log2(e); dout / (1-p)
  float *q, *dout;       // (kQueries, HS): q * scale; dout / (1-p)
  float* dq;             // (kQueries, HS), before the scale
  float* k;              // (kKeys, HS)
  float *p, *ds;         // (kKeys, kQueries)
  float *lse, *row_sum;  // (kQueries): log2-sum-exp2; D, the row sums of dout * out
  uint8_t* keep;         // (kKeys, kQueries)
};

int first_query(const AttentionShape& shape, int key) { return shape.causal ? std::max(0, key - (shape.S - shape.T)) : 0; }
int first_query_block(const AttentionShape& shape, int key) { return first_query(shape, key) / kQueries * kQueries; }

// The keys cut into ranges of blocks, of about equal work.
struct Plan {
  Plan(const CpuContext& ctx, const AttentionShape& shape) {
    const int blocks = (shape.S + kKeys - 1) / kKeys, heads = shape.B * shape.NKV;
    // The fewest ranges that leave the threads idle for less than a tenth of the time, or come nearest to it.
    double best = 0.0;
    for (int count = 1; count <= std::min(blocks, kMaxRanges) && best < 0.9; ++count) {
      const int units = heads * count, rounds = (units + ctx.threads - 1) / ctx.threads;
      const double busy = static_cast<double>(units) / (rounds * ctx.threads);
      if (busy > best) {
        best = busy;
        ranges = count;
      }
    }
    // A range ends at the block with which its share of all tiles is reached; one may be empty, the first never is.
    int64_t tiles = 0, seen = 0;
    for (int j0 = 0; j0 < shape.S; j0 += kKeys) tiles += tiles_of(shape, j0);
    int range = 0;
    for (int j0 = 0; j0 < shape.S; j0 += kKeys) {
      while (seen * ranges >= tiles * range) begin[range++] = j0;
      seen += tiles_of(shape, j0);
    }
    while (range <= ranges) begin[range++] = shape.S;
  }
  // Blocks of queries that see the block of keys from j0 on.
  static int tiles_of(const AttentionShape& shape, int j0) {
    return (shape.T - 1) / kQueries - first_query_block(shape, j0) / kQueries + 1;
  }

  static constexpr int kMaxRanges = 64;
  int ranges = 1;
  int begin[kMaxRanges + 1];  // keys; [ranges] is S
};

// Where the keys that a block of queries sees end, within a range that ends at `end`.
int key_end(const AttentionShape& shape, int i0, int end) {
  return shape.causal ? std::min(end, std::min(i0 + kQueries, shape.T) + shape.S - shape.T) : end;
}

// p: scores -> dropped P; ds: dP -> dS = P * (dropped dP - D).
template <bool kDrop>
void gradient_tile(const Workspace& w, const Tile& tile) {
  for (int i = 0; i < tile.columns(); i += kWidth) {
    const int end = mask_unseen(w.p, tile, i);
    const Floats lse = load(w.lse + i), row_sum = load(w.row_sum + i);
    for (int j = 0; j < end; ++j) {
      const int at = j * kQueries + i;
      const Floats p = simd::exp2(load(w.p + at) - lse), dp = load(w.ds + at);
      if constexpr (kDrop) {
        const Ints keep = simd::expand_bytes(w.keep + at);
        store(w.p + at, simd::keep_where(keep, p));
        store(w.ds + at, p * (simd::keep_where(keep, dp) - row_sum));
      } else {
        store(w.p + at, p);
        store(w.ds + at, p * (dp - row_sum));
      }
    }
    clear_unseen(w.p, tile, i, end);
    clear_unseen(w.ds, tile, i, end);
  }
}

float dot(const float* a, const float* b, int HS) {
  simd::Float8 sums{};
  for (int c = 0; c < HS; c += 8) sums += load<simd::Float8>(a + c) * load<simd::Float8>(b + c);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// What backward is given, but for dq.
struct Operands {
  HeadView<float> dk, dv;
  HeadView<const float> dout, out, q, k, v;
  const float* lse;  // (B, NH, T)
  AttentionShape shape;
  simd::MaskDraw draw;
  bool drop;
};

void load_queries(const Workspace& w, const Operands& o, int b, int h, int i0, int queries) {
  const int HS = o.shape.HS;
  const float* q = o.q.at(b, i0, h);
  const float* dout = o.dout.at(b, i0, h);
  const float* lse = o.lse + (int64_t{b} * o.shape.NH + h) * o.shape.T + i0;
  pack_transposed(w.q_t, q, o.q.token_stride, queries, HS, o.shape.scale * kLog2E);
  pack_transposed(w.dout_t, dout, o.dout.token_stride, queries, HS, o.draw.rule.scale);
  pack(w.q, q, o.q.token_stride, queries, HS, o.shape.scale);
  pack(w.dout, dout, o.dout.token_stride, queries, HS, o.draw.rule.scale);
  for (int i = 0; i < queries; ++i) {
    w.lse[i] = lse[i] * kLog2E;
    w.row_sum[i] = dot(o.dout.at(b, i0 + i, h), o.out.at(b, i0 + i, h), HS);
  }
  std::fill(w.lse + queries, w.lse + kQueries, 0.0f);
  std::fill(w.row_sum + queries, w.row_sum + kQueries, 0.0f);
}

// One tile: adds to dq of the workspace and to dk, dv; or, at their first tile, sets them.
void add_tile(const Workspace& w, const Operands& o, int b, int h, const Tile& tile, Start start_dq, Start start_dkv) {
  const int HS = o.shape.HS;
  const int kv = h / (o.shape.NH / o.shape.NKV);
  const float* k = o.k.at(b, tile.j0, kv);
  multiply_to_tile(w.p, k, o.k.token_stride, w.q_t, tile, HS);
  multiply_to_tile(w.ds, o.v.at(b, tile.j0, kv), o.v.token_stride, w.dout_t, tile, HS);
  if (o.drop) {
    draw_tile(w.keep, o.draw, (o.draw.first_sequence + b) * o.shape.NH + h, tile);
    gradient_tile<true>(w, tile);
  } else {
    gradient_tile<false>(w, tile);
  }
  multiply_by_queries(o.dv.at(b, tile.j0, kv), o.dv.token_stride, w.p, w.dout, HS, tile, HS, start_dkv);
  multiply_by_queries(o.dk.at(b, tile.j0, kv), o.dk.token_stride, w.ds, w.q, HS, tile, HS, start_dkv);
  pack(w.k, k, o.k.token_stride, tile.keys, HS, 1.0f);
  multiply_by_keys(w.dq, w.ds, w.k, HS, tile, HS, start_dq, nullptr);
}

// dK and dV of the keys begin .. end-1 of one KV head, and what these keys add to the dQ of the queries that see them.
void add_keys(const Workspace& w, const Operands& o, HeadView<float> dq, int b, int kv, int begin, int end) {
  if (begin == end) return;
  const AttentionShape& shape = o.shape;
  const int HS = shape.HS, group = shape.NH / shape.NKV;
  for (int h = kv * group; h < (kv + 1) * group; ++h) {
    for (int i0 = first_query_block(shape, begin); i0 < shape.T; i0 += kQueries) {
      const int queries = std::min(kQueries, shape.T - i0);
      load_queries(w, o, b, h, i0, queries);
      for (int j0 = begin; j0 < key_end(shape, i0, end); j0 += kKeys) {
        const bool first = h == kv * group && i0 == first_query_block(shape, j0);
        add_tile(w, o, b, h, Tile(shape, i0, j0, end), j0 == begin ? Start::zero : Start::add, first ? Start::zero : Start::add);
      }
      for (int i = 0; i < queries; ++i) pack(dq.at(b, i0 + i, h), w.dq + i * HS, HS, 1, HS, shape.scale);
    }
  }
}

// dq = the sum of the ranges' partial dQ, in their order; a range knows nothing of queries before its first.
void sum_partials(const CpuContext& ctx, HeadView<float> dq, const float* partials, const AttentionShape& shape, const Plan& plan) {
  const int64_t partial_size = int64_t{shape.B} * shape.T * shape.NH * shape.HS;
#pragma omp parallel for num_threads(ctx.threads) schedule(static)
  for (int64_t row = 0; row < int64_t{shape.B} * shape.T; ++row) {
    const int64_t b = row / shape.T, t = row % shape.T;
    for (int64_t h = 0; h < shape.NH; ++h) {
      float* to = dq.at(b, t, h);
      const float* from = partials + (row * shape.NH + h) * shape.HS;
      std::copy_n(from, shape.HS, to);
      for (int range = 1; range < plan.ranges; ++range) {
        const bool empty = plan.begin[range] == plan.begin[range + 1];
        if (empty || first_query_block(shape, plan.begin[range]) > t) continue;
        for (int c = 0; c < shape.HS; ++c) to[c] += from[range * partial_size + c];
      }
    }
  }
}

}  // namespace
}  // namespace attention

size_t attention_backward_scratch(const CpuContext& ctx, const AttentionShape& shape) {
  const attention::Plan plan(ctx, shape);
  const size_t partials = plan.ranges == 1 ? 0 : static_cast<size_t>(plan.ranges) * shape.B * shape.T * shape.NH * shape.HS;
  return static_cast<size_t>(ctx.threads) * attention::Workspace::size(shape.HS) + partials;
}

void attention_backward(const CpuContext& ctx, HeadView<float> dq, HeadView<float> dk, HeadView<float> dv,
                        HeadView<const float> dout, HeadView<const float> out, const float* lse, HeadView<const float> q,
                        HeadView<const float> k, HeadView<const float> v, float* scratch, const AttentionShape& shape,
                        const Dropout& dropout) {
  using namespace attention;
  check_attention(shape, dropout);
  const Plan plan(ctx, shape);
  const Operands o{dk, dv, dout, out, q, k, v, lse, shape, simd::MaskDraw(dropout), dropout.on()};
  const int HS = shape.HS, units = shape.B * shape.NKV * plan.ranges;
  float* partials = scratch + static_cast<size_t>(ctx.threads) * Workspace::size(HS);  // (ranges, B, T, NH, HS)
  const int64_t partial_size = int64_t{shape.B} * shape.T * shape.NH * HS;
#pragma omp parallel for num_threads(ctx.threads) schedule(dynamic)
  for (int unit = 0; unit < units; ++unit) {
    const Workspace w(scratch + static_cast<size_t>(omp_get_thread_num()) * Workspace::size(HS), HS);
    const int range = unit % plan.ranges, b = unit / plan.ranges / shape.NKV, kv = unit / plan.ranges % shape.NKV;
    HeadView<float> to = dq;
    if (plan.ranges > 1) {
      to = {partials + range * partial_size, int64_t{shape.T} * shape.NH * HS, int64_t{shape.NH} * HS, HS};
    }
    add_keys(w, o, to, b, kv, plan.begin[range], plan.begin[range + 1]);
  }
  if (plan.ranges > 1) sum_partials(ctx, dq, partials, shape, plan);
}

}  // namespace glint
