// Dropout of whole rows of channels (the row layout of kernels/dropout.h), for the kernels that fuse it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/check.h"
#include "kernels/cpu/dropout_simd.h"
#include "kernels/cpu/vector_loops.h"

namespace glint::simd {

// The keep mask of one row at a time: one per thread, on its stack.
class RowMask {
 public:
  static constexpr int kMaxChannels = 16384;

  static void check(int C) { GLINT_CHECK(C <= kMaxChannels, "rows of ", C, " channels, at most ", kMaxChannels); }

  RowMask(const DropoutMask& mask, int C) : mask_(mask), C_(C) {}

  // Draws the mask of token t of sequence b of the micro-batch.
  void move_to(size_t b, size_t t) { draw_row(keep_, C_, mask_, b, static_cast<uint32_t>(t)); }

  // dropout(value) of the channels from c.
  Floats apply(size_t c, Floats value) const { return keep_where(expand_bytes(keep_ + c), value) * mask_.scale; }

 private:
  const DropoutMask mask_;
  int C_;
  uint8_t keep_[kMaxChannels + kWidth];  // the last vector of an odd C reads past it
};

// out[c] = op(c, in[c]...) for first <= c < last.
template <typename Out, typename Op, typename... In>
inline void map_channels(Out* out, size_t first, size_t last, const Op& op, const In*... in) {
  size_t c = first;
  for (; c + kWidth <= last; c += kWidth) store(out + c, op(c, load(in + c)...));
  if (c < last) store_first(out + c, op(c, load_first(in + c, last - c)...), last - c);
}

}  // namespace glint::simd
