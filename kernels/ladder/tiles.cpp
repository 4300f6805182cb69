// Rung 2, tiles: the same matrices, computed 64 x 64 elements at a time, so that a key in the cache serves 64 queries.
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

void tiles_forward(const AttentionForward<float>& a) {
  const AttentionShape& shape = a.shape;
  const Matrix matrix(shape);
  const CausalRange range(shape);
  for_each_head(a, matrices_scratch(shape, a.dropout.on()), [&](const Head& head) {
    const int b = head.b, h = head.h, kv = head.kv;
    float* const p = head.kept;
    for_each_tile(range, [&](const Tile& tile) {  // S
      scores(p + matrix.at(tile.i0, tile.j0), matrix.columns, a, head, tile);
    });
    for (int i = 0; i < shape.T; ++i) {  // P
      const float lse = softmax(p + matrix.at(i, 0), range.key_end(i));
      if (a.lse) a.lse[row_of(shape, b, h, i)] = lse;
    }
    const Keep keep = draw_matrix(a, head);
    zero(a.out, b, h, shape.T, shape.HS);
    for_each_tile(range, [&](const Tile& tile) {  // O
      tile.for_each_element([&](int i, int j) {
        add_scaled(a.out.at(b, i, h), a.v.at(b, j, kv), keep.factor(i, j) * p[matrix.at(i, j)], shape.HS);
      });
    });
  });
}

void tiles_backward(const AttentionBackward<float>& a) {
  const AttentionShape& shape = a.shape;
  const Matrix matrix(shape);
  const CausalRange range(shape);
  for_each_head(a, matrices_scratch(shape, a.dropout.on()), [&](const Head& head) {
    const int b = head.b, h = head.h, kv = head.kv;
    const float* const p = head.kept;
    float* const ds = head.work;
    const Keep keep = matrix_mask(a, head).again(0, 0);
    for_each_tile(range, [&](const Tile& tile) {  // dP
      tile.for_each_element([&](int i, int j) {
        ds[matrix.at(i, j)] = keep.factor(i, j) * dot(a.dout.at(b, i, h), a.v.at(b, j, kv), shape.HS);
      });
    });
    for (int i = 0; i < shape.T; ++i) {  // dS
      softmax_backward(ds + matrix.at(i, 0), p + matrix.at(i, 0), range.key_end(i));
    }
    zero_gradients(a, head);
    for_each_tile(range, [&](const Tile& tile) {  // a tile serves all three gradients
      tile.for_each_element([&](int i, int j) {
        const float dropped = keep.factor(i, j) * p[matrix.at(i, j)], gradient = shape.scale * ds[matrix.at(i, j)];
        add_scaled(a.dv.at(b, j, kv), a.dout.at(b, i, h), dropped, shape.HS);
        add_scaled(a.dq.at(b, i, h), a.k.at(b, j, kv), gradient, shape.HS);
        add_scaled(a.dk.at(b, j, kv), a.q.at(b, i, h), gradient, shape.HS);
      });
    });
  });
}

}  // namespace glint::ladder
