// Backward of rungs 3 to 7 (FlashAttention-2's Algorithm 2): P comes again from the scores and the log-sum-exp, and
// rowsum(P * dP) is rowsum(dO * O), which needs no matrix. The outer loop is over keys, whose dK and dV stay in the
// cache.
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

template <typename Mask>
void recompute_backward(const AttentionBackward<float>& a) {
  const AttentionShape& shape = a.shape;
  const CausalRange range(shape);
  for_each_head(a, no_matrix_scratch<Mask>(shape, a.dropout.on()), [&](const Head& head) {
    const int b = head.b, h = head.h, kv = head.kv;
    auto mask = mask_of<Mask>(a, head);
    float s[kTile * kTile], *const row_sum = head.work;
    for (int i = 0; i < shape.T; ++i) row_sum[i] = dot(a.dout.at(b, i, h), a.out.at(b, i, h), shape.HS);
    zero_gradients(a, head);
    for (int j0 = 0; j0 < shape.S; j0 += kTile) {
      for (int i0 = first_query_block(range, j0); i0 < shape.T; i0 += kTile) {
        const Tile tile(range, i0, j0);
        scores(s, kTile, a, head, tile);
        const Keep keep = mask.again(i0, j0);
        tile.for_each_element([&](int i, int j) {
          const float *dout = a.dout.at(b, i, h), factor = keep.factor(i - i0, j - j0);
          const float p = std::exp(s[(i - i0) * kTile + j - j0] - a.lse[row_of(shape, b, h, i)]);
          const float ds = p * (factor * dot(dout, a.v.at(b, j, kv), shape.HS) - row_sum[i]);
          add_scaled(a.dv.at(b, j, kv), dout, factor * p, shape.HS);
          add_scaled(a.dq.at(b, i, h), a.k.at(b, j, kv), shape.scale * ds, shape.HS);
          add_scaled(a.dk.at(b, j, kv), a.q.at(b, i, h), shape.scale * ds, shape.HS);
        });
      }
    }
  });
}

template void recompute_backward<ByteMask>(const AttentionBackward<float>& a);
template void recompute_backward<BitMask>(const AttentionBackward<float>& a);
template void recompute_backward<DrawnMask>(const AttentionBackward<float>& a);

}  // namespace glint::ladder
