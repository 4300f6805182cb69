// The table of the rungs, and what each moves to and from memory.
#include "kernels/ladder/ladder.h"

#include <cmath>

#include "kernels/ladder/rungs.h"

namespace glint::ladder {
namespace {

// Bytes of one head. A row of HS numbers is the unit of the products, an element that of the matrices.
struct Bytes {
  Bytes(const AttentionShape& shape, bool dropout) : s(shape), row(4.0 * s.HS), queries(s.T * row), keys(s.S * row) {
    for (int i = 0; i < s.T; ++i) elements += CausalRange(s).key_end(i);
    mask = dropout ? elements : 0.0;  // of one byte each
  }
  // Of all heads, in both directions.
  Traffic of_all(double forward, double backward) const {
    const double heads = static_cast<double>(s.B) * s.NH;
    return {heads * forward, heads * backward};
  }
  // K (or V) read once for each block of queries; Q (or dO) once for each block of keys.
  double keys_for_each_block() const {
    double rows = 0.0;
    for (int i = 0; i < s.T; i += kTile) rows += CausalRange(s).key_end(i + kTile - 1);
    return rows * row;
  }
  double queries_for_each_block() const {
    double rows = 0.0;
    for (int j = 0; j < s.S; j += kTile) rows += s.T - first_query_block(CausalRange(s), j);
    return rows * row;
  }
  double recompute_backward() const {  // D; K V dK dV; Q dO read, dQ read and written; without the mask
    return 2 * queries + 4 * keys + 4 * queries_for_each_block();
  }

  const AttentionShape& s;
  double row, queries, keys;  // queries: of Q, O, dO or dQ; keys: of K, V, dK or dV
  double elements = 0.0, mask;
};

Traffic definition_traffic(const AttentionShape& s, bool dropout) {
  const Bytes x(s, dropout);
  const double keys = x.elements * x.row;  // K (or V) read once for each query
  // S: written; softmax: read, written; O: read.      dP: written; dS: P, dP read, dS written; dV, dQ, dK: read.
  return x.of_all(2 * x.queries + 2 * keys + 16 * x.elements + 2 * x.mask,
                  4 * x.queries + 6 * keys + 28 * x.elements + 2 * x.mask);
}
Traffic tiles_traffic(const AttentionShape& s, bool dropout) {
  const Bytes x(s, dropout);
  return x.of_all(2 * x.queries + 2 * x.keys_for_each_block() + 16 * x.elements + 2 * x.mask,
                  x.queries + x.keys_for_each_block() + 16 * x.elements + x.mask  // dP, dS
                      + 4 * x.queries_for_each_block() + 3 * x.keys + 8 * x.elements + x.mask);
}
Traffic two_passes_traffic(const AttentionShape& s, bool dropout) {
  const Bytes x(s, dropout);
  return x.of_all(2 * x.queries + 3 * x.keys_for_each_block() + x.mask, x.recompute_backward() + x.mask);
}
Traffic online_traffic(const AttentionShape& s, bool dropout) {
  const Bytes x(s, dropout);  // Q read, O read and written
  return x.of_all(2 * x.keys + 3 * x.queries_for_each_block() + x.mask, x.recompute_backward() + x.mask);
}
// mask_size: of an element, in bytes.
Traffic rescale_once(const Bytes& x, double mask_size) {
  return x.of_all(2 * x.queries + 2 * x.keys_for_each_block() + mask_size * x.mask,
                  x.recompute_backward() + mask_size * x.mask);
}
Traffic rescale_once_traffic(const AttentionShape& s, bool dropout) { return rescale_once(Bytes(s, dropout), 1.0); }
Traffic bits_traffic(const AttentionShape& s, bool dropout) { return rescale_once(Bytes(s, dropout), 1.0 / 8); }
Traffic drawn_traffic(const AttentionShape& s, bool) { return rescale_once(Bytes(s, false), 0.0); }
// Forward: at most, for several blocks of queries share a tile of keys. Backward's outer loop is over queries, and its
// keys are packed before and unpacked behind.
Traffic product_traffic(const AttentionShape& s, bool) {
  const Bytes x(s, false);
  return x.of_all(2 * x.queries + 2 * x.keys_for_each_block(),
                  4 * x.queries + 8 * x.keys + 6 * x.keys_for_each_block());
}

constexpr CpuContext kOneThread{};
ScratchSize product_scratch(const AttentionShape& shape, bool) {
  return {0, std::max(attention_forward_scratch(kOneThread, shape), attention_backward_scratch(kOneThread, shape))};
}
void product_forward(const AttentionForward<float>& a) { attention_forward(kOneThread, a); }
void product_backward(const AttentionBackward<float>& a) { attention_backward(kOneThread, a); }

constexpr Rung kRungs[] = {
    {"definition", "whole matrices, row by row; P kept", matrices_scratch, definition_forward, definition_backward,
     definition_traffic},
    {"tiles", "a key in the cache serves 64 queries", matrices_scratch, tiles_forward, tiles_backward, tiles_traffic},
    {"two passes", "scores computed again instead of kept", no_matrix_scratch<ByteMask>, two_passes_forward,
     recompute_backward<ByteMask>, two_passes_traffic},
    {"online softmax", "one pass, corrected by every tile (FlashAttention)", no_matrix_scratch<ByteMask>,
     online_forward, recompute_backward<ByteMask>, online_traffic},
    {"rescaled once", "queries outside, divided at the end (FlashAttention-2)", no_matrix_scratch<ByteMask>,
     rescale_once_forward<ByteMask>, recompute_backward<ByteMask>, rescale_once_traffic},
    {"mask as bits", "the mask in an eighth of the memory", no_matrix_scratch<BitMask>, rescale_once_forward<BitMask>,
     recompute_backward<BitMask>, bits_traffic},
    {"mask drawn again", "no mask kept: backward draws it from the RNG state", no_matrix_scratch<DrawnMask>,
     rescale_once_forward<DrawnMask>, recompute_backward<DrawnMask>, drawn_traffic},
    {"glint's kernel", "the same on vector registers", product_scratch, product_forward, product_backward,
     product_traffic},
};

}  // namespace

std::span<const Rung> rungs() { return kRungs; }

}  // namespace glint::ladder
