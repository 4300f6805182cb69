// The dropout masks of training: those of one attention layer or several over some steps, to test how random they are.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/dropout.h"

namespace glint {

struct MaskAxes {
  int steps = 1, layers = 1, sequences = 1, heads = 1;
  int T = 64;  // queries and keys; a multiple of 64

  int masks() const { return steps * layers * sequences * heads; }
  uint64_t elements() const {
    return static_cast<uint64_t>(masks()) * static_cast<uint64_t>(T) * static_cast<uint64_t>(T);
  }
};

// Mask ((step * layers + layer) * sequences + b) * heads + h, of T x T bits; 1: kept.
class MaskSet {
 public:
  explicit MaskSet(const MaskAxes& axes)
      : axes_(axes), words_(axes.T / 64), bits_(static_cast<size_t>(axes.elements() / 64)) {}

  const MaskAxes& axes() const { return axes_; }
  int words() const { return words_; }  // of a row
  uint64_t* row(int mask, int i) { return bits_.data() + (static_cast<int64_t>(mask) * axes_.T + i) * words_; }
  const uint64_t* row(int mask, int i) const {
    return bits_.data() + (static_cast<int64_t>(mask) * axes_.T + i) * words_;
  }
  void keep(int mask, int64_t i, int64_t j) { row(mask, static_cast<int>(i))[j / 64] |= uint64_t{1} << (j % 64); }
  bool kept(int mask, int i, int j) const { return row(mask, i)[j / 64] >> (j % 64) & 1; }
  uint64_t count() const {
    uint64_t kept = 0;
    for (const uint64_t word : bits_) kept += static_cast<uint64_t>(std::popcount(word));
    return kept;
  }

 private:
  MaskAxes axes_;
  int words_;
  std::vector<uint64_t> bits_;
};

// Where one of them begins, in training of a model whose only dropout is in attention, with `axes.sequences` sequences
// in the global batch: the state of the random numbers of its step, and its layer's first offset.
struct MaskPlace {
  RngState rng{};
  uint64_t site = 0;
  int heads = 1, b = 0, h = 0;
};
MaskPlace place_of(const MaskAxes& axes, uint64_t seed, int mask);

// Mask number `to` becomes the one of that place, as kernels/dropout.h defines it.
void draw_mask(MaskSet& set, int to, float p, const MaskPlace& place);

// How often each byte occurs among the random bytes of all masks: attention's, and those of as many elements of
// embedding and residual dropout.
std::vector<uint64_t> count_attention_bytes(const MaskAxes& axes, uint64_t seed);
std::vector<uint64_t> count_row_bytes(const MaskAxes& axes, uint64_t seed);

}  // namespace glint
