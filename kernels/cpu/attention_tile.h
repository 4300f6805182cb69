// One tile of attention, kQueries x kKeys elements of S and P, and the operations on it.
//
// The tile is stored transposed, (keys, queries): a vector holds neighbouring queries of one key, so that maxima and
// sums over the keys are lane by lane. Q and dO are transposed once per block of queries; K and V are not transposed.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/causal_range.h"
#include "kernels/cpu/attention_product.h"
#include "kernels/cpu/dropout_simd.h"
#include "kernels/cpu/vector_loops.h"

namespace glint::attention {

using simd::Floats;
using simd::Ints;
using simd::load;
using simd::store;

// Multiples of the 16 x 32 blocks of the mask.
inline constexpr int kQueries = 64, kKeys = 64;
inline constexpr int kMaxHS = 256;

inline constexpr float kLn2 = 0.693147181f;

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

// Position and size of a tile of P, and its mask: query i of the tile sees key j of the tile if j <= i + shift, as in
// CausalRange.
struct Tile {
  Tile(const CausalRange& range, int first_query, int first_key, int key_end)
      : i0(first_query),
        j0(first_key),
        queries(std::min(kQueries, range.T - first_query)),
        keys(std::min(kKeys, key_end - first_key)),
        shift(first_query + range.shift - first_key) {}

  int columns() const { return round_up(queries, kWidth); }  // of the transposed tile; may include padding
  int visible_keys(int query) const { return std::clamp(query + shift + 1, 0, keys); }
  int first_query(int key) const { return std::max(0, key - shift); }  // that attends to the key

  int i0, j0, queries, keys, shift;
};

// The tokens of one head from t.
template <typename Scalar>
Rows<Scalar> rows(const HeadView<Scalar>& view, int b, int t, int h) {
  return {view.at(b, t, h), view.token_stride};
}

// to (count, HS) = factor * from.
template <typename To, typename From>
void pack(Rows<To> to, Rows<From> from, int count, int HS, float factor) {
  for (int row = 0; row < count; ++row) {
    simd::map(
        to.from(row).data, static_cast<size_t>(HS), [=](Floats x) { return x * factor; },
        static_cast<const From*>(from.from(row).data));
  }
}

// to (HS, kQueries) = factor * transposed from (count, HS); columns from `count` up to whole vectors are zero.
template <typename Scalar>
void pack_transposed(float* to, Rows<const Scalar> from, int count, int HS, float factor) {
  using simd::Float8;
  for (int row = 0; row < round_up(count, std::max(8, kWidth)); row += 8) {
    for (int c = 0; c < HS; c += 8) {
      Float8 x[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        x[r] = row + r < count ? simd::load8(from.from(row + r, c).data) * factor : Float8{};
      }
      Float8 pairs[8], fours[8];
#pragma GCC unroll 4
      for (int r = 0; r < 8; r += 2) {
        pairs[r] = __builtin_shufflevector(x[r], x[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[r + 1] = __builtin_shufflevector(x[r], x[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
      }
#pragma GCC unroll 2
      for (int r = 0; r < 8; r += 4) {
        fours[r] = __builtin_shufflevector(pairs[r], pairs[r + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        fours[r + 1] = __builtin_shufflevector(pairs[r], pairs[r + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        fours[r + 2] = __builtin_shufflevector(pairs[r + 1], pairs[r + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        fours[r + 3] = __builtin_shufflevector(pairs[r + 1], pairs[r + 3], 2, 3, 10, 11, 6, 7, 14, 15);
      }
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        store(to + (c + r) * kQueries + row, __builtin_shufflevector(fours[r], fours[r + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        store(to + (c + r + 4) * kQueries + row,
              __builtin_shufflevector(fours[r], fours[r + 4], 4, 5, 6, 7, 12, 13, 14, 15));
      }
    }
  }
}

// ---- The products. Masked elements of a tile are neither computed nor read, except a band of kBlockRows beyond the
// ---- diagonal, which clear_beyond() sets to zero.

// tile (keys, kQueries) = left (keys, HS) * right (HS, kQueries): S or dP, from K or V and the transposed Q or dO.
inline void multiply_to_tile(float* tile_data, Rows<const float> left, const float* right, const Tile& tile, int HS) {
  const Rows<float> to{tile_data, kQueries};
  for (int j = 0; j < tile.keys; j += kBlockRows) {
    const int first = tile.first_query(j) / kWidth * kWidth;
    if (first >= tile.columns()) break;
    some_rows_product<By::row>(std::min(kBlockRows, tile.keys - j), to.from(j, first), left.from(j),
                               {right + first, kQueries}, tile.columns() - first, HS, Start::zero, nullptr);
  }
}

// to (queries, HS) (+)= transposed tile (queries, keys) * right (keys, HS): O from V, or dQ from K.
inline void multiply_by_keys(float* to, const float* p, Rows<const float> right, const Tile& tile, int HS, Start start,
                             const float* row_scale) {
  for (int i = 0; i < tile.queries; i += kBlockRows) {
    const int count = std::min(kBlockRows, tile.queries - i);
    some_rows_product<By::column>(count, {to + i * HS, HS}, {p + i, kQueries}, right, HS,
                                  tile.visible_keys(i + count - 1), start, row_scale ? row_scale + i : nullptr);
  }
}

// to (keys, HS) (+)= tile (keys, queries) * right (queries, HS): dV from dO, or dK from Q.
inline void multiply_by_queries(Rows<float> to, const float* p, const float* right, const Tile& tile, int HS,
                                Start start) {
  for (int j = 0; j < tile.keys; j += kBlockRows) {
    const int first = std::min(tile.first_query(j), tile.queries);
    some_rows_product<By::row>(std::min(kBlockRows, tile.keys - j), to.from(j), {p + j * kQueries + first, kQueries},
                               {right + first * HS, HS}, HS, tile.queries - first, start, nullptr);
  }
}

// ---- Masks, one vector of queries (from column `query` on) at a time.

// Sets masked scores to -inf, up to the last key visible to any query of the vector; returns the number of keys up to
// it.
inline int apply_mask(float* s, const Tile& tile, int query) {
  const int end = tile.visible_keys(query + kWidth - 1);
  for (int j = tile.visible_keys(query); j < end; ++j) {
    float* at = s + j * kQueries + query;
    store(at, simd::select(simd::first_lanes(j - tile.shift - query), simd::broadcast(-__builtin_inff()), load(at)));
  }
  return end;
}

// Zeroes the band that products read beyond the last key that apply_mask() returned.
inline void clear_beyond(float* p, const Tile& tile, int query, int end) {
  for (int j = end; j < std::min(end + kBlockRows, tile.keys); ++j) store(p + j * kQueries + query, Floats{});
}

// keep (keys, kQueries) bytes for the visible part of the tile.
inline void draw_tile(uint8_t* keep, const DropoutMask& mask, const Tile& tile) {
  for (int j = 0; j < tile.keys; j += 32) {
    for (int i = tile.first_query(j) / 16 * 16; i < tile.queries; i += 16) {
      simd::draw_attention_block(keep + j * kQueries + i, kQueries, mask, static_cast<uint32_t>(tile.i0 + i) / 16,
                                 static_cast<uint32_t>(tile.j0 + j) / 32);
    }
  }
}

}  // namespace glint::attention
