// Rung 4, the online softmax in FlashAttention's order (T. Dao et al., 2022, Algorithm 1): one pass. The outer loop is
// over keys; each tile corrects the maximum, the sum and the output that the tiles before it left, so that the output
// is at any time the attention to the keys so far.
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

void online_forward(const AttentionForward<float>& a) {
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  for_each_head(a, no_matrix_scratch<ByteMask>(shape, a.dropout.on()), [&](const Head& head) {
    auto mask = mask_of<ByteMask>(a, head);
    float s[kTile * kTile], *const max = head.work, *const sum = max + shape.T;
    std::fill_n(max, shape.T, -INFINITY), std::fill_n(sum, shape.T, 0.0f);
    zero(a.out, head.b, head.h, shape.T, shape.HS);
    for (int j0 = 0; j0 < shape.S; j0 += kTile) {
      for (int i0 = first_query_block(range, j0); i0 < shape.T; i0 += kTile) {
        const Tile tile(range, i0, j0);
        scores(s, kTile, a, head, tile);
        for (int i = 0; i < tile.queries; ++i) {
          const int n = tile.visible(i), t = i0 + i;
          if (n == 0) continue;
          float* const row = s + i * kTile;
          const float new_max = row_max(row, n, max[t]), alpha = std::exp(max[t] - new_max);
          const float new_sum = alpha * sum[t] + exponentials(row, n, new_max);
          scale_row(a.out.at(head.b, t, head.h), alpha * sum[t] / new_sum, shape.HS);
          scale_row(row, 1.0f / new_sum, n);
          max[t] = new_max, sum[t] = new_sum;
        }
        add_values(a, head, tile, s, mask.draw(i0, j0));
      }
    }
    if (!a.lse) return;
    for (int t = 0; t < shape.T; ++t) a.lse[row_of(shape, head.b, head.h, t)] = max[t] + std::log(sum[t]);
  });
}

}  // namespace glint::ladder
