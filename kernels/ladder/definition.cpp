// Rung 1, the definition: S = scale * Q K^T, P = softmax(S), O = dropout(P) V, a matrix at a time and a row at a time.
// P and the mask are kept for backward, as a framework without a fused kernel does.
#include "kernels/ladder/rungs.h"

namespace glint::ladder {

void definition_forward(const AttentionForward<float>& a) {
  const AttentionShape& shape = a.shape;
  const Matrix matrix(shape);
  const CausalRange range(shape);
  for_each_head(a, matrices_scratch(shape, a.dropout.on()), [&](const Head& head) {
    const int b = head.b, h = head.h, kv = head.kv;
    float* const p = head.kept;
    for (int i = 0; i < shape.T; ++i) {  // S
      for (int j = 0; j < range.key_end(i); ++j) {
        p[matrix.at(i, j)] = shape.scale * dot(a.q.at(b, i, h), a.k.at(b, j, kv), shape.HS);
      }
    }
    for (int i = 0; i < shape.T; ++i) {  // P
      const float lse = softmax(p + matrix.at(i, 0), range.key_end(i));
      if (a.lse) a.lse[row_of(shape, b, h, i)] = lse;
    }
    const Keep keep = draw_matrix(a, head);
    zero(a.out, b, h, shape.T, shape.HS);
    for (int i = 0; i < shape.T; ++i) {  // O
      for (int j = 0; j < range.key_end(i); ++j) {
        add_scaled(a.out.at(b, i, h), a.v.at(b, j, kv), keep.factor(i, j) * p[matrix.at(i, j)], shape.HS);
      }
    }
  });
}

// dP = dropout'(dO V^T), dS = P * (dP - rowsum(P * dP)), dV = dropout(P)^T dO, dQ = scale * dS K, dK = scale * dS^T Q.
void definition_backward(const AttentionBackward<float>& a) {
  const AttentionShape& shape = a.shape;
  const Matrix matrix(shape);
  const CausalRange range(shape);
  for_each_head(a, matrices_scratch(shape, a.dropout.on()), [&](const Head& head) {
    const int b = head.b, h = head.h, kv = head.kv;
    const float* const p = head.kept;
    float* const ds = head.work;
    const Keep keep = matrix_mask(a, head).again(0, 0);
    const auto for_each_element = [&](const auto& f) {
      for (int i = 0; i < shape.T; ++i) {
        for (int j = 0; j < range.key_end(i); ++j) f(i, j);
      }
    };
    for_each_element([&](int i, int j) {  // dP
      ds[matrix.at(i, j)] = keep.factor(i, j) * dot(a.dout.at(b, i, h), a.v.at(b, j, kv), shape.HS);
    });
    for (int i = 0; i < shape.T; ++i) {  // dS
      softmax_backward(ds + matrix.at(i, 0), p + matrix.at(i, 0), range.key_end(i));
    }
    zero_gradients(a, head);
    for_each_element([&](int i, int j) {
      add_scaled(a.dv.at(b, j, kv), a.dout.at(b, i, h), keep.factor(i, j) * p[matrix.at(i, j)], shape.HS);
    });
    for_each_element([&](int i, int j) {
      add_scaled(a.dq.at(b, i, h), a.k.at(b, j, kv), shape.scale * ds[matrix.at(i, j)], shape.HS);
    });
    for_each_element([&](int i, int j) {
      add_scaled(a.dk.at(b, j, kv), a.q.at(b, i, h), shape.scale * ds[matrix.at(i, j)], shape.HS);
    });
  });
}

}  // namespace glint::ladder
