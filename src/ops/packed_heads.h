// Views of the queries, keys and values in a packed (B, T, (NH + 2 NKV) * HS) tensor.
#pragma once

#include <cmath>

#include "kernels/attention.h"
#include "src/ops.h"

namespace glint {

struct PackedHeads {
  int T, NH, NKV, HS;

  explicit PackedHeads(const AttentionShape& shape) : T(shape.T), NH(shape.NH), NKV(shape.NKV), HS(shape.HS) {}
  int64_t width() const { return static_cast<int64_t>(NH + 2 * NKV) * HS; }
  template <typename Scalar>
  HeadView<Scalar> part(Scalar* base, int first_head) const {
    return {base + static_cast<int64_t>(first_head) * HS, T * width(), width(), HS};
  }
  template <typename Scalar>
  HeadView<Scalar> q(Scalar* base) const {
    return part(base, 0);
  }
  template <typename Scalar>
  HeadView<Scalar> k(Scalar* base) const {
    return part(base, NH);
  }
  template <typename Scalar>
  HeadView<Scalar> v(Scalar* base) const {
    return part(base, NH + NKV);
  }
};

inline AttentionShape shape_of(Tensor qkv, AttentionHeads heads) {
  const int B = qkv.shape()[0], T = qkv.shape()[1], width = qkv.shape()[2];
  const int HS = width / (heads.query + 2 * heads.key_value);
  GLINT_CHECK(HS * (heads.query + 2 * heads.key_value) == width, qkv.name(), " has width ", width);
  return {B, T, T, heads.query, heads.key_value, HS, true, 1.0f / std::sqrt(static_cast<float>(HS))};
}

// A contiguous (B, T, NH, HS) array.
template <typename Scalar>
HeadView<Scalar> unpacked(Scalar* data, const AttentionShape& s) {
  const int64_t row = static_cast<int64_t>(s.NH) * s.HS;
  return {data, s.T * row, row, s.HS};
}

}  // namespace glint
