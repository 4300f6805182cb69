// Attention forward on the CPU: FlashAttention-2's Algorithm 1, a few blocks of queries at a time.
#include <cmath>
#include <type_traits>

#include "kernels/attention_check.h"
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/parallel.h"

namespace glint {
namespace attention {
namespace {

// Blocks of queries processed together, so that each tile of K and V is packed once for all of them.
constexpr int kStripFloats = kQueries * kMaxHS;
constexpr int kMaxStrip = 4;
int most_blocks(int HS) { return std::min(kMaxStrip, kStripFloats / (kQueries * HS)); }

// The workspace of one thread: fits in its L2 cache.
struct alignas(64) Workspace {
  float q[kStripFloats];  // (blocks, HS, kQueries), times scale * log2(e)
  float o[kStripFloats];  // (blocks, kQueries, HS), not yet divided by the row sum
  float max[kMaxStrip * kQueries], sum[kMaxStrip * kQueries], lse[kMaxStrip * kQueries];
  float alpha[kQueries];      // exp2(old max - new max) of this tile
  float k[kKeys * kMaxHS];    // (kKeys, HS)
  float v[kKeys * kMaxHS];    // (kKeys, HS)
  float p[kKeys * kQueries];  // (kKeys, kQueries), scores, then probabilities
  uint8_t keep[kKeys * kQueries];
};

// The largest of each lane over `keys` rows of kQueries, and of `start`: in two independent chains.
Floats column_max(const float* s, int keys, Floats start) {
  Floats even = start, odd = start;
  int j = 0;
  for (; j + 1 < keys; j += 2) {
    even = simd::larger(even, load(s + j * kQueries));
    odd = simd::larger(odd, load(s + (j + 1) * kQueries));
  }
  if (j < keys) even = simd::larger(even, load(s + j * kQueries));
  return simd::larger(even, odd);
}

// K or V of a tile in fp32: in place, or packed where they are read often or are bf16.
template <typename Scalar>
Rows<const float> read_rows(float* packed, Rows<const Scalar> from, int count, int HS, bool often) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (!often) return from;
  }
  pack(Rows<float>{packed, HS}, from, count, HS, 1.0f);
  return {packed, HS};
}

// Scores -> probabilities relative to the running maximum, then dropout; the sums include dropped elements.
template <bool kDrop>
void softmax_tile(Workspace& w, float* running_max, float* running_sum, const Tile& tile) {
  for (int i = 0; i < tile.columns(); i += kWidth) {
    const int end = apply_mask(w.p, tile, i);
    const Floats old_max = load(running_max + i), new_max = column_max(w.p + i, end, old_max);
    Floats sum{};
    for (int j = 0; j < end; ++j) {
      float* at = w.p + j * kQueries + i;
      const Floats p = simd::exp2(load(at) - new_max);
      sum += p;
      store(at, kDrop ? simd::keep_where(simd::expand_bytes(w.keep + j * kQueries + i), p) : p);
    }
    clear_beyond(w.p, tile, i, end);
    const Floats alpha = simd::exp2(old_max - new_max);
    store(w.alpha + i, alpha);
    store(running_sum + i, load(running_sum + i) * alpha + sum);
    store(running_max + i, new_max);
  }
}

// The blocks of queries of one head, from `first`: the body of the outer loop of Algorithm 1.
template <typename Scalar>
void attend(Workspace& w, const AttentionForward<Scalar>& a, int b, int h, int first, int blocks) {
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  const DropoutMask mask(a.dropout, shape.NH, b, h);
  const int HS = shape.HS, kv = h / (shape.NH / shape.NKV), block_size = kQueries * HS;
  const int queries = std::min(blocks * kQueries, shape.T - first), key_end = range.key_end(first + queries - 1);
  for (int i = 0; i < queries; i += kQueries) {
    pack_transposed(w.q + i * HS, rows(a.q, b, first + i, h), std::min(kQueries, queries - i), HS,
                    shape.scale * kLog2E);
  }
  std::fill_n(w.max, blocks * kQueries, -INFINITY);
  std::fill_n(w.sum, blocks * kQueries, 0.0f);
  for (int j0 = 0; j0 < key_end; j0 += kKeys) {
    const int keys = std::min(kKeys, key_end - j0);
    const Rows<const float> k = read_rows(w.k, rows(a.k, b, j0, kv), keys, HS, blocks > 1);
    const Rows<const float> v = read_rows(w.v, rows(a.v, b, j0, kv), keys, HS, queries > kBlockRows);
    for (int block = 0; block < blocks; ++block) {
      const Tile tile(range, first + block * kQueries, j0, j0 + keys);
      if (tile.visible_keys(tile.queries - 1) == 0) continue;
      multiply_to_tile(w.p, k, w.q + block * block_size, tile, HS);
      if (mask.on) {
        draw_tile(w.keep, mask, tile);
        softmax_tile<true>(w, w.max + block * kQueries, w.sum + block * kQueries, tile);
      } else {
        softmax_tile<false>(w, w.max + block * kQueries, w.sum + block * kQueries, tile);
      }
      multiply_by_keys(w.o + block * block_size, w.p, v, tile, HS, j0 == 0 ? Start::zero : Start::add, w.alpha);
    }
  }
  for (int i = 0; i < queries; ++i) {
    pack(rows(a.out, b, first + i, h), Rows<float>{w.o + i * HS, HS}, 1, HS, mask.scale / w.sum[i]);
  }
  if (!a.lse) return;
  for (int i = 0; i < queries; i += kWidth) store(w.lse + i, (load(w.max + i) + simd::log2(load(w.sum + i))) * kLn2);
  std::copy_n(w.lse, queries, a.lse + row_of(shape, b, h, first));
}

template <typename Scalar>
void forward(const CpuContext& ctx, const AttentionForward<Scalar>& a) {
  const AttentionShape& shape = a.shape;
  check_attention(shape, a.dropout);
  const int blocks = (shape.T + kQueries - 1) / kQueries, heads = shape.B * shape.NH;
  // Long strips, but several for every thread: those of a causal head differ in length.
  const int strip = std::clamp(static_cast<int>(int64_t{heads} * blocks / (4 * ctx.threads)), 1, most_blocks(shape.HS));
  const int strips = (blocks + strip - 1) / strip;
  const int threads = threads_for(ctx, static_cast<size_t>(heads) * shape.T * shape.S * shape.HS / 16);
// Dynamic: a block's result does not depend on the thread that computes it.
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int unit = 0; unit < heads * strips; ++unit) {
    Workspace w;
    const int head = unit / strips, first_block = (strips - 1 - unit % strips) * strip;  // the longest rows first
    attend(w, a, head / shape.NH, head % shape.NH, first_block * kQueries, std::min(strip, blocks - first_block));
  }
}

}  // namespace
}  // namespace attention

void attention_forward(const CpuContext& ctx, const AttentionForward<float>& a) { attention::forward(ctx, a); }
void attention_forward(const CpuContext& ctx, const AttentionForward<Bf16>& a) { attention::forward(ctx, a); }

}  // namespace glint
