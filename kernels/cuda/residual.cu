#include "kernels/residual.h"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/row_dropout.cuh"

namespace glint {
namespace {

// to = dropout(y), plus x if that is not null.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kRowsPerBlock)
    residual_kernel(Scalar* to, const Scalar* x, const Scalar* y, const ResidualShape shape,
                    const __grid_constant__ Dropout site) {
  constexpr int kCount = kPack<Scalar>;
  const RowDropout dropout(site, shape.T);
  for_each_row(shape.B * shape.T, shape.C, [&](int row, size_t first) {
    for_each_channel_pack<kCount>(shape.C, [&](int c, int valid) {
      const size_t at = first + c;
      const auto from = load_pack<kCount>(y + at, valid), under = load_pack<kCount>(x ? x + at : y, x ? valid : 0);
      float values[kCount];
      dropout.apply(values, from, row, c);
      if (x) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) values[i] += under[i];
      }
      store_pack(to + at, values, valid);
    });
  });
}

template <typename Scalar>
void launch_residual(const CudaContext& ctx, Scalar* to, const Scalar* x, const Scalar* y, const ResidualShape& shape,
                     const Dropout& dropout) {
  const auto what = [&] { return str_cat("residual_dropout, B ", shape.B, ", T ", shape.T, ", C ", shape.C); };
  const size_t rows = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T);
  launch(ctx, row_launch(rows), what, residual_kernel<Scalar>, to, x, y, shape, dropout);
}

}  // namespace

template <typename Scalar>
void residual_dropout_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* y,
                              const ResidualShape& shape, const Dropout& dropout) {
  launch_residual(ctx, out, x, y, shape, dropout);
}

template <typename Scalar>
void residual_dropout_backward(const CudaContext& ctx, Scalar* dy, const Scalar* dout, const ResidualShape& shape,
                               const Dropout& dropout) {
  if (dropout.on() || dy != dout) launch_residual(ctx, dy, static_cast<const Scalar*>(nullptr), dout, shape, dropout);
}

template void residual_dropout_forward(const CudaContext&, float*, const float*, const float*, const ResidualShape&,
                                       const Dropout&);
template void residual_dropout_forward(const CudaContext&, Bf16*, const Bf16*, const Bf16*, const ResidualShape&,
                                       const Dropout&);
template void residual_dropout_backward(const CudaContext&, float*, const float*, const ResidualShape&, const Dropout&);
template void residual_dropout_backward(const CudaContext&, Bf16*, const Bf16*, const ResidualShape&, const Dropout&);

}  // namespace glint
