// Rung 3, two passes over the keys: no matrix of numbers is kept. The first pass finds each row's maximum, the second
// computes the scores again and adds up sum and output. Backward computes P once more, from the log-sum-exp.
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

void two_passes_forward(const AttentionForward<float>& a) {
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  for_each_head(a, no_matrix_scratch<ByteMask>(shape, a.dropout.on()), [&](const Head& head) {
    auto mask = mask_of<ByteMask>(a, head);
    float s[kTile * kTile], max[kTile], sum[kTile];
    zero(a.out, head.b, head.h, shape.T, shape.HS);
    for (int i0 = 0; i0 < shape.T; i0 += kTile) {
      std::fill_n(max, kTile, -INFINITY), std::fill_n(sum, kTile, 0.0f);
      const auto for_each_key_tile = [&](const auto& f) {
        for (int j0 = 0; j0 < range.key_end(i0 + kTile - 1); j0 += kTile) {
          const Tile tile(range, i0, j0);
          scores(s, kTile, a, head, tile);
          f(tile);
        }
      };
      for_each_key_tile([&](const Tile& tile) {
        for (int i = 0; i < tile.queries; ++i) max[i] = row_max(s + i * kTile, tile.visible(i), max[i]);
      });
      for_each_key_tile([&](const Tile& tile) {
        for (int i = 0; i < tile.queries; ++i) sum[i] += exponentials(s + i * kTile, tile.visible(i), max[i]);
        add_values(a, head, tile, s, mask.draw(tile.i0, tile.j0));
      });
      finish_rows(a, head, i0, max, sum);
    }
  });
}

}  // namespace glint::ladder
