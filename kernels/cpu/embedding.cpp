#include "kernels/embedding.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_dropout.h"

namespace glint {
namespace {

using simd::Floats;

template <typename Scalar>
void add_into(float* to, size_t first, size_t last, const Scalar* from) {
  simd::map_channels(
      to, first, last, [](size_t, Floats a, Floats b) { return a + b; }, to, from);
}

void clear_channels(float* matrix, size_t rows, size_t C, Range channels) {
  for (size_t row = 0; row < rows; ++row) {
    std::memset(matrix + row * C + channels.begin, 0, (channels.end - channels.begin) * sizeof(float));
  }
}

}  // namespace

template <typename Scalar>
void embedding_forward(const CpuContext& ctx, Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout) {
  simd::RowMask::check(shape.C);
  const size_t T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C),
               rows = static_cast<size_t>(shape.B) * T;
  const size_t first_position = shape.first_position ? static_cast<size_t>(*shape.first_position) : 0;
  const DropoutMask site(dropout);
  parallel_ranges(ctx, rows, 1, rows * C, [&](Range range) {
    simd::RowMask mask(site, shape.C);
    for (size_t row = range.begin; row < range.end; ++row) {
      const size_t b = row / T, t = row % T;
      Scalar* to = out + row * C;
      const Scalar* token = wte + static_cast<size_t>(tokens[row]) * C;
      const Scalar* position = wpe ? wpe + (first_position + t) * C : nullptr;
      if (dropout.on()) mask.move_to(b, t);
      if (!position) {
        simd::map_channels(
            to, 0, C, [&](size_t c, Floats x) { return dropout.on() ? mask.apply(c, x) : x; }, token);
      } else if (dropout.on()) {
        simd::map_channels(
            to, 0, C, [&](size_t c, Floats x, Floats y) { return mask.apply(c, x + y); }, token, position);
      } else {
        simd::map_channels(
            to, 0, C, [](size_t, Floats x, Floats y) { return x + y; }, token, position);
      }
    }
  });
}

size_t embedding_backward_scratch(const CpuContext&, const EmbeddingShape&) { return 0; }

// Each thread owns a range of channels of every row and processes the tokens in order: repeated tokens need neither
// sorting nor locks, and the sums do not depend on the thread count.
template <typename Scalar>
void embedding_backward(const CpuContext& ctx, float* dwte, float* dwpe, const Scalar* dout, const int32_t* tokens,
                        void*, const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte,
                        Write write_dwpe) {
  GLINT_CHECK(shape.first_position == nullptr, "backward starts at position 0");
  simd::RowMask::check(shape.C);
  const size_t B = static_cast<size_t>(shape.B), T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C);
  const size_t cleared_rows = write_dwte == Write::set ? static_cast<size_t>(shape.V) : 0;
  const DropoutMask site(dropout);
  parallel_ranges(ctx, C, 16, (B * T + cleared_rows) * C, [&](Range channels) {  // 16: whole cache lines
    clear_channels(dwte, cleared_rows, C, channels);
    if (dwpe && write_dwpe == Write::set) clear_channels(dwpe, T, C, channels);
    simd::RowMask mask(site, static_cast<int>(channels.end));
    float dropped[simd::RowMask::kMaxChannels];  // (C) dropout'(dout) of one token
    for (size_t row = 0; row < B * T; ++row) {
      const Scalar* gradient = dout + row * C;
      float* to_token = dwte + static_cast<size_t>(tokens[row]) * C;
      float* to_position = dwpe ? dwpe + row % T * C : nullptr;
      if (dropout.on()) {
        mask.move_to(row / T, row % T);
        simd::map_channels(
            dropped, channels.begin, channels.end, [&](size_t c, Floats d) { return mask.apply(c, d); }, gradient);
        add_into<float>(to_token, channels.begin, channels.end, dropped);
        if (dwpe) add_into<float>(to_position, channels.begin, channels.end, dropped);
      } else {
        add_into(to_token, channels.begin, channels.end, gradient);
        if (dwpe) add_into(to_position, channels.begin, channels.end, gradient);
      }
    }
  });
}

template void embedding_forward(const CpuContext&, float*, const int32_t*, const float*, const float*,
                                const EmbeddingShape&, const Dropout&);
template void embedding_forward(const CpuContext&, Bf16*, const int32_t*, const Bf16*, const Bf16*,
                                const EmbeddingShape&, const Dropout&);
template void embedding_backward(const CpuContext&, float*, float*, const float*, const int32_t*, void*,
                                 const EmbeddingShape&, const Dropout&, Write, Write);
template void embedding_backward(const CpuContext&, float*, float*, const Bf16*, const int32_t*, void*,
                                 const EmbeddingShape&, const Dropout&, Write, Write);

}  // namespace glint
