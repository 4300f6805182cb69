#include "kernels/residual.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_dropout.h"

namespace glint {
namespace {

using simd::Floats;

// map_row(offset of the row, its mask) for every row (b, t), split among the threads.
template <typename MapRow>
void for_masked_rows(const CpuContext& ctx, const ResidualShape& shape, const Dropout& dropout, const MapRow& map_row) {
  simd::RowMask::check(shape.C);
  const size_t T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C),
               rows = static_cast<size_t>(shape.B) * T;
  const DropoutMask site(dropout);
  parallel_ranges(ctx, rows, 1, rows * C, [&](Range range) {
    simd::RowMask mask(site, shape.C);
    for (size_t row = range.begin; row < range.end; ++row) {
      mask.move_to(row / T, row % T);
      map_row(row * C, mask);
    }
  });
}

// The arrays as one long row.
template <typename MapRange>
void for_elements(const CpuContext& ctx, const ResidualShape& shape, const MapRange& map_range) {
  const size_t n = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T) * static_cast<size_t>(shape.C);
  parallel_ranges(ctx, n, 16, n / 4, map_range);
}

}  // namespace

template <typename Scalar>
void residual_dropout_forward(const CpuContext& ctx, Scalar* out, const Scalar* x, const Scalar* y,
                              const ResidualShape& shape, const Dropout& dropout) {
  if (!dropout.on()) {
    for_elements(ctx, shape, [=](Range range) {
      simd::map(
          out + range.begin, range.end - range.begin, [](Floats a, Floats b) { return a + b; }, x + range.begin,
          y + range.begin);
    });
    return;
  }
  for_masked_rows(ctx, shape, dropout, [=](size_t row, const simd::RowMask& mask) {
    const auto add = [&](size_t c, Floats a, Floats b) { return a + mask.apply(c, b); };
    simd::map_channels(out + row, 0, static_cast<size_t>(shape.C), add, x + row, y + row);
  });
}

template <typename Scalar>
void residual_dropout_backward(const CpuContext& ctx, Scalar* dy, const Scalar* dout, const ResidualShape& shape,
                               const Dropout& dropout) {
  if (!dropout.on()) {
    if (dy == dout) return;
    for_elements(ctx, shape, [=](Range range) { std::copy(dout + range.begin, dout + range.end, dy + range.begin); });
    return;
  }
  for_masked_rows(ctx, shape, dropout, [=](size_t row, const simd::RowMask& mask) {
    const auto drop = [&](size_t c, Floats gradient) { return mask.apply(c, gradient); };
    simd::map_channels(dy + row, 0, static_cast<size_t>(shape.C), drop, dout + row);
  });
}

template void residual_dropout_forward(const CpuContext&, float*, const float*, const float*, const ResidualShape&,
                                       const Dropout&);
template void residual_dropout_forward(const CpuContext&, Bf16*, const Bf16*, const Bf16*, const ResidualShape&,
                                       const Dropout&);
template void residual_dropout_backward(const CpuContext&, float*, const float*, const ResidualShape&, const Dropout&);
template void residual_dropout_backward(const CpuContext&, Bf16*, const Bf16*, const ResidualShape&, const Dropout&);

}  // namespace glint
