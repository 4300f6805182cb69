// Attention backward on the CPU: FlashAttention-2's Algorithm 2 with the five products of a tile.
//
// A unit of work is (sequence, KV head, range of keys): it owns the dK and dV of its keys, and goes through the query
// blocks that see them, of every query head of the group. Where heads alone would not feed the threads, keys are cut into
// several ranges; each then has its own partial dQ in scratch, and these are summed in order at the end.
#include <omp.h>

#include <vector>

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

// The queries and keys of one call cut into blocks, and the keys into ranges of blocks of about equal work.
struct Plan {
  Plan(const CpuContext& ctx, const AttentionShape& shape) {
    const int blocks = (shape.S + kKeys - 1) / kKeys, heads = shape.B * shape.NKV;
    // The fewest ranges that leave the threads idle for less than a tenth of the time, or come nearest to it.
    double best = 0.0;
    for (int count = 1; count <= blocks && best < 0.9; ++count) {
      const int units = heads * count, rounds = (units + ctx.threads - 1) / ctx.threads;
      const double busy = static_cast<double>(units) / (rounds * ctx.threads);
      if (busy > best) {
        best = busy;
        ranges = count;
      }
    }
  }
  int ranges = 1;
};

// Tiles below key block `block`, all queries counted: the work of the blocks before it.
int64_t tiles_before(const AttentionShape& shape, int block) {
  int64_t tiles = 0;
  for (int j0 = 0; j0 < block * kKeys; j0 += kKeys) {
    const int first = shape.causal ? std::max(0, j0 - (shape.S - shape.T)) : 0;
    tiles += (shape.T - 1) / kQueries - first / kQueries + 1;
  }
  return tiles;
}

// First key of a range; range == ranges gives S.
int range_begin(const AttentionShape& shape, const Plan& plan, int range) {
  const int blocks = (shape.S + kKeys - 1) / kKeys;
  const int64_t total = tiles_before(shape, blocks);
  int block = 0;
  while (block < blocks && tiles_before(shape, block) * plan.ranges < total * range) ++block;
  return std::min(block * kKeys, shape.S);
}

int first_query(const AttentionShape& shape, int key) { return shape.causal ? std::max(0, key - (shape.S - shape.T)) : 0; }
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

// Everything backward is given.
struct Operands {
  HeadView<float> dq, dk, dv;
  HeadView<const float> dout, out, q, k, v;
  const float* lse;  // (B, NH, T)
  AttentionShape shape;
  simd::MaskDraw draw;
  bool drop;
};

void load_queries(const Workspace& w, const Operands& o, int64_t b, int64_t h, int i0, int queries) {
  const int HS = o.shape.HS;
  const float* q = o.q.at(b, i0, h);
  const float* dout = o.dout.at(b, i0, h);
  const float* lse = o.lse + (b * o.shape.NH + h) * o.shape.T + i0;
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
void add_tile(const Workspace& w, const Operands& o, int64_t b, int64_t h, const Tile& tile, Start start_dq, Start start_dkv) {
  const int HS = o.shape.HS;
  const int64_t kv = h / (o.shape.NH / o.shape.NKV);
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
  const Operands o{dq, dk, dv, dout, out, q, k, v, lse, shape, simd::MaskDraw(dropout), dropout.on()};
  const int HS = shape.HS, group = shape.NH / shape.NKV, units = shape.B * shape.NKV * plan.ranges;
  // (ranges, B, T, NH, HS)
  float* partials = scratch + static_cast<size_t>(ctx.threads) * Workspace::size(HS);
  const int64_t partial_size = int64_t{shape.B} * shape.T * shape.NH * HS;
#pragma omp parallel for num_threads(ctx.threads) schedule(dynamic)
  for (int unit = 0; unit < units; ++unit) {
    const Workspace w(scratch + static_cast<size_t>(omp_get_thread_num()) * Workspace::size(HS), HS);
    const int range = unit % plan.ranges;
    const int64_t b = unit / plan.ranges / shape.NKV, kv = unit / plan.ranges % shape.NKV;
    const int begin = range_begin(shape, plan, range), end = range_begin(shape, plan, range + 1);
    HeadView<float> to = dq;
    if (plan.ranges > 1) {
      to = {partials + range * partial_size, int64_t{shape.T} * shape.NH * HS, int64_t{shape.NH} * HS, HS};
    }
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      for (int i0 = first_query(shape, begin) / kQueries * kQueries; i0 < shape.T; i0 += kQueries) {
        const int queries = std::min(kQueries, shape.T - i0);
        load_queries(w, o, b, h, i0, queries);
        for (int j0 = begin; j0 < key_end(shape, i0, end); j0 += kKeys) {
          const bool first = h == kv * group && i0 == first_query(shape, j0) / kQueries * kQueries;
          add_tile(w, o, b, h, Tile(shape, i0, j0, key_end(shape, i0, end)), j0 == begin ? Start::zero : Start::add,
                   first ? Start::zero : Start::add);
        }
        for (int i = 0; i < queries; ++i) pack(to.at(b, i0 + i, h), w.dq + i * HS, HS, 1, HS, shape.scale);
      }
    }
  }
  if (plan.ranges == 1) return;
#pragma omp parallel for num_threads(ctx.threads) schedule(static)
  for (int64_t row = 0; row < int64_t{shape.B} * shape.T; ++row) {
    const int64_t b = row / shape.T, t = row % shape.T;
    for (int64_t h = 0; h < shape.NH; ++h) {
      float* to = dq.at(b, t, h);
      const float* from = partials + (row * shape.NH + h) * HS;
      std::copy_n(from, HS, to);
      for (int range = 1; range < plan.ranges; ++range) {
        if (first_query(shape, range_begin(shape, plan, range)) / kQueries * kQueries > t) break;
        for (int c = 0; c < HS; ++c) to[c] += from[range * partial_size + c];
      }
    }
  }
}

}  // namespace glint
