#include "kernels/embedding.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_dropout.h"

namespace glint {
namespace {

using simd::Floats;

void add_into(float* to, size_t first, size_t last, const float* from) {
  simd::map_channels(to, first, last, [](size_t, Floats a, Floats b) { return a + b; }, to, from);
}

void clear_channels(float* matrix, size_t rows, size_t C, Range channels) {
  for (size_t row = 0; row < rows; ++row) {
    std::memset(matrix + row * C + channels.begin, 0, (channels.end - channels.begin) * sizeof(float));
  }
}

}  // namespace

void embedding_forward(const CpuContext& ctx, float* out, const int32_t* tokens, const float* wte, const float* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout) {
  simd::RowMask::check(shape.C);
  const size_t T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C), rows = static_cast<size_t>(shape.B) * T;
  const size_t first_position = shape.first_position ? static_cast<size_t>(*shape.first_position) : 0;
  const simd::MaskDraw draw(dropout);
  parallel_ranges(ctx, rows, 1, rows * C, [&](Range range) {
    simd::RowMask mask(draw, shape.C);
    for (size_t row = range.begin; row < range.end; ++row) {
      const size_t b = row / T, t = row % T;
      float* to = out + row * C;
      const float* token = wte + static_cast<size_t>(tokens[row]) * C;
      const float* position = wpe + (first_position + t) * C;
      if (dropout.on()) {
        mask.move_to(b, t);
        simd::map_channels(to, 0, C, [&](size_t c, Floats x, Floats y) { return mask.apply(c, x + y); }, token, position);
      } else {
        simd::map_channels(to, 0, C, [](size_t, Floats x, Floats y) { return x + y; }, token, position);
      }
    }
  });
}

size_t embedding_backward_scratch(const CpuContext&, const EmbeddingShape&) { return 0; }

// Each thread has a range of channels of every row to itself and goes through the tokens in their order: repeated tokens
// need neither sorting nor locks, and the sums do not depend on the thread count.
void embedding_backward(const CpuContext& ctx, float* dwte, float* dwpe, const float* dout, const int32_t* tokens, void*,
                        const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte, Write write_dwpe) {
  GLINT_CHECK(shape.first_position == nullptr, "backward starts at position 0");
  simd::RowMask::check(shape.C);
  const size_t B = static_cast<size_t>(shape.B), T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C);
  const size_t cleared_rows = write_dwte == Write::set ? static_cast<size_t>(shape.V) : 0;
  const simd::MaskDraw draw(dropout);
  parallel_ranges(ctx, C, 16, (B * T + cleared_rows) * C, [&](Range channels) {  // 16: whole cache lines
    clear_channels(dwte, cleared_rows, C, channels);
    if (write_dwpe == Write::set) clear_channels(dwpe, T, C, channels);
    simd::RowMask mask(draw, static_cast<int>(channels.end));
    float dropped[simd::RowMask::kMaxChannels];  // (C) dropout'(dout) of one token
    for (size_t row = 0; row < B * T; ++row) {
      const float* gradient = dout + row * C;
      if (dropout.on()) {
        mask.move_to(row / T, row % T);
        simd::map_channels(dropped, channels.begin, channels.end, [&](size_t c, Floats d) { return mask.apply(c, d); }, gradient);
        gradient = dropped;
      }
      add_into(dwte + static_cast<size_t>(tokens[row]) * C, channels.begin, channels.end, gradient);
      add_into(dwpe + row % T * C, channels.begin, channels.end, gradient);
    }
  });
}

}  // namespace glint
