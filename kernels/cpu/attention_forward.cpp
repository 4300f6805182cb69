// Attention forward on the CPU: FlashAttention-2's Algorithm 1, one block of queries at a time.
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/attention_tile.h"

namespace glint {
namespace attention {
namespace {

// What one thread works with: all in its L2 cache.
struct alignas(64) Workspace {
  float q[kMaxHS * kQueries];  // (HS, kQueries), times scale * log2(e)
  float v[kKeys * kMaxHS];     // (kKeys, HS)
  float p[kKeys * kQueries];   // (kKeys, kQueries), scores, then probabilities
  float o[kQueries * kMaxHS];  // (kQueries, HS), not yet divided by the row sum
  float max[kQueries], sum[kQueries], rescale[kQueries];
  uint8_t keep[kKeys * kQueries];
};

// The largest of each lane over `keys` rows of kQueries, and of `start`. Two chains, or each step would wait for the last.
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

// Scores -> probabilities relative to the running maximum, dropped where the mask says so; the sums are of all of them.
template <bool kDrop>
void softmax_tile(Workspace& w, const Tile& tile) {
  for (int i = 0; i < tile.columns(); i += kWidth) {
    const int end = mask_unseen(w.p, tile, i);
    const Floats old_max = load(w.max + i), max = column_max(w.p + i, end, old_max);
    Floats sum{};
    for (int j = 0; j < end; ++j) {
      float* at = w.p + j * kQueries + i;
      const Floats p = simd::exp2(load(at) - max);
      sum += p;
      store(at, kDrop ? simd::keep_where(simd::expand_bytes(w.keep + j * kQueries + i), p) : p);
    }
    clear_unseen(w.p, tile, i, end);
    const Floats rescale = simd::exp2(old_max - max);
    store(w.rescale + i, rescale);
    store(w.sum + i, load(w.sum + i) * rescale + sum);
    store(w.max + i, max);
  }
}

// out (HS) of one query, scaled to sum to what the mask lets through.
void write_row(float* out, const float* o, float factor, int HS) {
  for (int c = 0; c < HS; ++c) out[c] = o[c] * factor;
}

}  // namespace
}  // namespace attention

void attention_forward(const CpuContext& ctx, HeadView<float> out, float* lse, HeadView<const float> q,
                       HeadView<const float> k, HeadView<const float> v, const AttentionShape& shape, const Dropout& dropout) {
  using namespace attention;
  check_attention(shape, dropout);
  const simd::MaskDraw draw(dropout);
  const int blocks = (shape.T + kQueries - 1) / kQueries, HS = shape.HS;
  const int64_t units = int64_t{shape.B} * shape.NH * blocks;
#pragma omp parallel for num_threads(ctx.threads) schedule(dynamic)
  for (int64_t unit = 0; unit < units; ++unit) {
    Workspace w;
    const int i0 = static_cast<int>(blocks - 1 - unit % blocks) * kQueries;  // the longest rows first
    const int64_t b = unit / blocks / shape.NH, h = unit / blocks % shape.NH, kv = h / (shape.NH / shape.NKV);
    const int queries = std::min(kQueries, shape.T - i0);
    const int key_end = shape.causal ? i0 + queries + shape.S - shape.T : shape.S;
    pack_transposed(w.q, q.at(b, i0, h), q.token_stride, queries, HS, shape.scale * kLog2E);
    std::fill_n(w.max, kQueries, -INFINITY);
    std::fill_n(w.sum, kQueries, 0.0f);
    for (int j0 = 0; j0 < key_end; j0 += kKeys) {
      const Tile tile(shape, i0, j0, key_end);
      multiply_to_tile(w.p, k.at(b, j0, kv), k.token_stride, w.q, tile, HS);
      if (dropout.on()) {
        draw_tile(w.keep, draw, (draw.first_sequence + b) * shape.NH + h, tile);
        softmax_tile<true>(w, tile);
      } else {
        softmax_tile<false>(w, tile);
      }
      pack(w.v, v.at(b, j0, kv), v.token_stride, tile.keys, HS, 1.0f);
      multiply_by_keys(w.o, w.p, w.v, HS, tile, HS, j0 == 0 ? Start::zero : Start::add, w.rescale);
    }
    for (int i = 0; i < queries; ++i) {
      write_row(out.at(b, i0 + i, h), w.o + i * HS, draw.rule.scale / w.sum[i], HS);
      if (lse) lse[(b * shape.NH + h) * shape.T + i0 + i] = (w.max[i] + std::log2(w.sum[i])) * kLn2;
    }
  }
}

}  // namespace glint
