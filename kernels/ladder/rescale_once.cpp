// Rungs 5 to 7, FlashAttention-2's order (T. Dao, 2023, Algorithm 1): the outer loop is over queries, so that maximum,
// sum and output of a block stay in the cache, and the output is divided by its sum once, behind the last tile. The
// rungs differ in where the mask comes from (masks.h).
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

template <typename Mask>
void rescale_once_forward(const AttentionForward<float>& a) {
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  for_each_head(a, no_matrix_scratch<Mask>(shape, a.dropout.on()), [&](const Head& head) {
    auto mask = mask_of<Mask>(a, head);
    float s[kTile * kTile], max[kTile], sum[kTile];
    zero(a.out, head.b, head.h, shape.T, shape.HS);
    for (int i0 = 0; i0 < shape.T; i0 += kTile) {
      std::fill_n(max, kTile, -INFINITY), std::fill_n(sum, kTile, 0.0f);
      for (int j0 = 0; j0 < range.key_end(i0 + kTile - 1); j0 += kTile) {
        const Tile tile(range, i0, j0);
        scores(s, kTile, a, head, tile);
        for (int i = 0; i < tile.queries; ++i) {
          const int n = tile.visible(i);
          if (n == 0) continue;
          float* const row = s + i * kTile;
          const float new_max = row_max(row, n, max[i]), alpha = std::exp(max[i] - new_max);
          sum[i] = alpha * sum[i] + exponentials(row, n, new_max);
          scale_row(a.out.at(head.b, i0 + i, head.h), alpha, shape.HS);
          max[i] = new_max;
        }
        add_values(a, head, tile, s, mask.draw(i0, j0));
      }
      finish_rows(a, head, i0, max, sum);
    }
  });
}

template void rescale_once_forward<ByteMask>(const AttentionForward<float>& a);
template void rescale_once_forward<BitMask>(const AttentionForward<float>& a);
template void rescale_once_forward<DrawnMask>(const AttentionForward<float>& a);

}  // namespace glint::ladder
