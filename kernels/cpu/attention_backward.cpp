// Attention backward on the CPU: FlashAttention-2's Algorithm 2 with the five products of a tile.
//
// A unit of work is (sequence, KV head, range of keys): it owns the dK and dV of its keys, and loops over the query
// blocks that see them, for every query head of the group. If there are too few heads for the threads, keys are split
// into several ranges; each then has its own partial dQ in scratch, and these are summed in order at the end.
#include <omp.h>

#include <type_traits>

#include "kernels/attention_check.h"
#include "kernels/cpu/attention_tile.h"

namespace glint {
namespace attention {
namespace {

// The first query of the first block that a key is visible to.
int first_query_block(const AttentionShape& shape, int key) {
  return CausalRange(shape).first_query(key) / kQueries * kQueries;
}

// The keys split into ranges of blocks with about equal work.
struct Plan {
  Plan(const CpuContext& ctx, const AttentionShape& shape) {
    const int blocks = (shape.S + kKeys - 1) / kKeys, heads = shape.B * shape.NKV;
    // The smallest number of ranges that keeps threads idle for less than a tenth of the time, or closest to that.
    double best = 0.0;
    for (int count = 1; count <= std::min(blocks, kMaxRanges) && best < 0.9; ++count) {
      const int units = heads * count, rounds = (units + ctx.threads - 1) / ctx.threads;
      const double busy = static_cast<double>(units) / (rounds * ctx.threads);
      if (busy > best) {
        best = busy;
        ranges = count;
      }
    }
    // A range ends at the block where its share of the tiles is reached. Ranges may be empty, except the first.
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

  int longest() const {
    int keys = 0;
    for (int range = 0; range < ranges; ++range) keys = std::max(keys, begin[range + 1] - begin[range]);
    return keys;
  }

  static constexpr int kMaxRanges = 64;
  int ranges = 1;
  int begin[kMaxRanges + 1];  // keys; [ranges] is S
};

// The workspace of one thread, in scratch.
struct Workspace {
  Workspace(float* scratch, int HS, int keys)
      : q_t(aligned(scratch)),
        dout_t(q_t + HS * kQueries),
        q(dout_t + HS * kQueries),
        dout(q + kQueries * HS),
        dq(dout + kQueries * HS),
        p(dq + kQueries * HS),
        ds(p + kKeys * kQueries),
        lse(ds + kKeys * kQueries),
        row_sum(lse + kQueries),
        keep(reinterpret_cast<uint8_t*>(row_sum + kQueries)),
        k(row_sum + kQueries + kKeys * kQueries / 4),
        v(k + ptrdiff_t{keys} * HS),
        dk(v + ptrdiff_t{keys} * HS),
        dv(dk + ptrdiff_t{keys} * HS) {}
  static size_t size(int HS, int keys) {
    return static_cast<size_t>(5 * kQueries * HS + 2 * kKeys * kQueries + 2 * kQueries + kKeys * kQueries / 4) +
           size_t{4} * keys * HS + kLine;
  }
  // Vectors must not cross cache lines: that is slow.
  static float* aligned(float* scratch) {
    return scratch + (kLine - reinterpret_cast<uintptr_t>(scratch) / sizeof(float) % kLine) % kLine;
  }
  static constexpr size_t kLine = 64 / sizeof(float);

  float *q_t, *dout_t;     // (HS, kQueries): q * scale * log2(e); dout / (1-p)
  float *q, *dout;         // (kQueries, HS): q * scale; dout / (1-p)
  float* dq;               // (kQueries, HS), before the scale
  float *p, *ds;           // (kKeys, kQueries)
  float *lse, *row_sum;    // (kQueries): log2-sum-exp2; D, the row sums of dout * out
  uint8_t* keep;           // (kKeys, kQueries)
  float *k, *v, *dk, *dv;  // (keys of the range, HS)
};

// p: scores -> dropped P; ds: dP -> dS = P * (dropped dP - D).
template <bool kDrop>
void gradient_tile(const Workspace& w, const Tile& tile) {
  for (int i = 0; i < tile.columns(); i += kWidth) {
    const int end = apply_mask(w.p, tile, i);
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
    clear_beyond(w.p, tile, i, end);
    clear_beyond(w.ds, tile, i, end);
  }
}

// A block of queries: the data shared by its tiles.
template <typename Scalar>
void load_queries(const Workspace& w, const AttentionBackward<Scalar>& a, int b, int h, int i0, int queries) {
  const int HS = a.shape.HS;
  const float scale = a.shape.scale, keep_scale = a.dropout.scale;
  const Rows<const Scalar> q = rows(a.q, b, i0, h), dout = rows(a.dout, b, i0, h), out = rows(a.out, b, i0, h);
  const float* lse = a.lse + row_of(a.shape, b, h, i0);
  pack_transposed(w.q_t, q, queries, HS, scale * kLog2E);
  pack_transposed(w.dout_t, dout, queries, HS, keep_scale);
  pack(Rows<float>{w.q, HS}, q, queries, HS, scale);
  pack(Rows<float>{w.dout, HS}, dout, queries, HS, keep_scale);
  for (int i = 0; i < queries; ++i) {
    w.lse[i] = lse[i] * kLog2E;
    w.row_sum[i] = simd::dot(dout.from(i).data, out.from(i).data, HS);
  }
  std::fill(w.lse + queries, w.lse + kQueries, 0.0f);
  std::fill(w.row_sum + queries, w.row_sum + kQueries, 0.0f);
}

// The keys of a unit of work, and their gradients.
struct Keys {
  Rows<const float> k, v;
  Rows<float> dk, dv;
};

// One tile, whose keys begin at row `key` of the unit: adds to dq of the workspace, dk and dv, or sets them in their
// first tile.
void add_tile(const Workspace& w, const Keys& keys, const DropoutMask& mask, const Tile& tile, int HS, int key,
              Start start_dq, Start start_dkv) {
  multiply_to_tile(w.p, keys.k.from(key), w.q_t, tile, HS);
  multiply_to_tile(w.ds, keys.v.from(key), w.dout_t, tile, HS);
  if (mask.on) {
    draw_tile(w.keep, mask, tile);
    gradient_tile<true>(w, tile);
  } else {
    gradient_tile<false>(w, tile);
  }
  multiply_by_queries(keys.dv.from(key), w.p, w.dout, tile, HS, start_dkv);
  multiply_by_queries(keys.dk.from(key), w.ds, w.q, tile, HS, start_dkv);
  multiply_by_keys(w.dq, w.ds, keys.k.from(key), tile, HS, start_dq, nullptr);
}

// dK and dV of the keys begin .. end-1 of one KV head, and their contribution to dQ.
template <typename Scalar, typename Dq>
void add_keys(const Workspace& w, const AttentionBackward<Scalar>& a, HeadView<Dq> dq, int b, int kv, int begin,
              int end) {
  if (begin == end) return;
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  const int HS = shape.HS, group = shape.NH / shape.NKV;
  const Rows<const Scalar> k = rows(a.k, b, begin, kv), v = rows(a.v, b, begin, kv);
  const Rows<Scalar> dk = rows(a.dk, b, begin, kv), dv = rows(a.dv, b, begin, kv);
  // Every block of queries loops over all keys: they are packed unless there is only one tile, of fp32.
  const bool packed = end - begin > kKeys || !std::is_same_v<Scalar, float>;
  Keys keys{{w.k, HS}, {w.v, HS}, {w.dk, HS}, {w.dv, HS}};
  if (packed) {
    pack(Rows<float>{w.k, HS}, k, end - begin, HS, 1.0f);
    pack(Rows<float>{w.v, HS}, v, end - begin, HS, 1.0f);
  } else if constexpr (std::is_same_v<Scalar, float>) {
    keys = {k, v, dk, dv};
  }
  for (int h = kv * group; h < (kv + 1) * group; ++h) {
    const DropoutMask mask(a.dropout, shape.NH, b, h);
    for (int i0 = first_query_block(shape, begin); i0 < shape.T; i0 += kQueries) {
      const int queries = std::min(kQueries, shape.T - i0);
      load_queries(w, a, b, h, i0, queries);
      const int key_end = std::min(end, range.key_end(i0 + kQueries - 1));
      for (int j0 = begin; j0 < key_end; j0 += kKeys) {
        const bool first = h == kv * group && i0 == first_query_block(shape, j0);
        add_tile(w, keys, mask, Tile(range, i0, j0, end), HS, j0 - begin, j0 == begin ? Start::zero : Start::add,
                 first ? Start::zero : Start::add);
      }
      pack(rows(dq, b, i0, h), Rows<float>{w.dq, HS}, queries, HS, shape.scale);
    }
  }
  if (packed) {
    pack(dk, Rows<float>{w.dk, HS}, end - begin, HS, 1.0f);
    pack(dv, Rows<float>{w.dv, HS}, end - begin, HS, 1.0f);
  }
}

// dq = the sum of the partial dQ of all ranges, in order; a range has no partial sums before its first query.
template <typename Scalar>
void sum_partials(const CpuContext& ctx, HeadView<Scalar> dq, float* partials, const AttentionShape& shape,
                  const Plan& plan) {
  const int64_t partial_size = int64_t{shape.B} * shape.T * shape.NH * shape.HS;
#pragma omp parallel for num_threads(ctx.threads) schedule(static)
  for (int64_t row = 0; row < int64_t{shape.B} * shape.T; ++row) {
    const int64_t b = row / shape.T, t = row % shape.T;
    for (int64_t h = 0; h < shape.NH; ++h) {
      float* sum = partials + (row * shape.NH + h) * shape.HS;
      for (int range = 1; range < plan.ranges; ++range) {
        const bool empty = plan.begin[range] == plan.begin[range + 1];
        if (empty || first_query_block(shape, plan.begin[range]) > t) continue;
        for (int c = 0; c < shape.HS; ++c) sum[c] += sum[range * partial_size + c];
      }
      pack(rows(dq, b, t, h), Rows<float>{sum, shape.HS}, 1, shape.HS, 1.0f);
    }
  }
}

template <typename Scalar>
void backward(const CpuContext& ctx, const AttentionBackward<Scalar>& a) {
  const AttentionShape& shape = a.shape;
  check_attention(shape, a.dropout);
  const Plan plan(ctx, shape);
  const int HS = shape.HS, keys = plan.longest(), units = shape.B * shape.NKV * plan.ranges;
  float* partials = a.scratch + static_cast<size_t>(ctx.threads) * Workspace::size(HS, keys);  // (ranges, B, T, NH, HS)
  const int64_t partial_size = int64_t{shape.B} * shape.T * shape.NH * HS;
// Dynamic: a unit's results do not depend on the thread that computes it.
#pragma omp parallel for num_threads(ctx.threads) schedule(dynamic)
  for (int unit = 0; unit < units; ++unit) {
    const Workspace w(a.scratch + static_cast<size_t>(omp_get_thread_num()) * Workspace::size(HS, keys), HS, keys);
    const int range = unit % plan.ranges, b = unit / plan.ranges / shape.NKV, kv = unit / plan.ranges % shape.NKV;
    const int begin = plan.begin[range], end = plan.begin[range + 1];
    if (plan.ranges == 1) {
      add_keys(w, a, a.dq, b, kv, begin, end);
    } else {
      const int64_t row = int64_t{shape.NH} * HS;
      add_keys(w, a, HeadView<float>{partials + range * partial_size, shape.T * row, row, HS}, b, kv, begin, end);
    }
  }
  if (plan.ranges > 1) sum_partials(ctx, a.dq, partials, shape, plan);
}

}  // namespace
}  // namespace attention

size_t attention_backward_scratch(const CpuContext& ctx, const AttentionShape& shape) {
  const attention::Plan plan(ctx, shape);
  const size_t partials =
      plan.ranges == 1 ? 0 : static_cast<size_t>(plan.ranges) * shape.B * shape.T * shape.NH * shape.HS;
  return static_cast<size_t>(ctx.threads) * attention::Workspace::size(shape.HS, plan.longest()) + partials;
}

void attention_backward(const CpuContext& ctx, const AttentionBackward<float>& a) { attention::backward(ctx, a); }
void attention_backward(const CpuContext& ctx, const AttentionBackward<Bf16>& a) { attention::backward(ctx, a); }

}  // namespace glint
