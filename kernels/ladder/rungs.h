// The functions of the rungs, each in the file of its name.
#pragma once

#include "kernels/ladder/masks.h"

namespace glint::ladder {

// 1, 2: what they keep of a head is P, then the mask; while they compute it they need dP.
inline ScratchSize matrices_scratch(const AttentionShape& shape, bool dropout) {
  const size_t matrix = Matrix(shape).size();
  return {matrix + (dropout ? ByteMask::kept(shape) : 0), matrix};
}
// Their mask lies behind P.
template <typename Arguments>
ByteMask matrix_mask(const Arguments& a, const Head& head) {
  return mask_of<ByteMask>(a, head, Matrix(a.shape).size());
}
inline Keep draw_matrix(const AttentionForward<float>& a, const Head& head) {
  ByteMask mask = matrix_mask(a, head);
  for_each_tile(CausalRange(a.shape), [&](const Tile& tile) { mask.draw(tile.i0, tile.j0); });
  return mask.again(0, 0);
}
void definition_forward(const AttentionForward<float>& a);
void definition_backward(const AttentionBackward<float>& a);
void tiles_forward(const AttentionForward<float>& a);
void tiles_backward(const AttentionBackward<float>& a);

// 3 to 7: of a head they keep no more than its mask; they need two numbers a row.
template <typename Mask>
ScratchSize no_matrix_scratch(const AttentionShape& shape, bool dropout) {
  return {dropout ? Mask::kept(shape) : 0, 2 * static_cast<size_t>(shape.T)};
}
void two_passes_forward(const AttentionForward<float>& a);
void online_forward(const AttentionForward<float>& a);
template <typename Mask>
void rescale_once_forward(const AttentionForward<float>& a);
template <typename Mask>
void recompute_backward(const AttentionBackward<float>& a);

}  // namespace glint::ladder
