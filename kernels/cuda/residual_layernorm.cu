#include "kernels/residual_layernorm.h"

#include "kernels/cuda/layernorm_rows.cuh"
#include "kernels/cuda/row_dropout.cuh"

namespace glint {
namespace {

using namespace layernorm;

// Rows of x + dropout(y), which forward stores in sum. The rounded sum is normalised, since backward reads that.
template <typename Scalar>
struct ResidualSource {
  static constexpr int kCount = kPack<Scalar>;
  Scalar* sum;
  const Scalar *x, *y;
  int T, C;
  Dropout site;

  struct Raw {
    Pack<Scalar, kCount> x, y;
  };
  struct Started {
    __device__ Raw load(int row, int c, int valid) const {
      const size_t at = valid > 0 ? static_cast<size_t>(row) * from.C + c : 0;
      return {load_pack<kCount>(from.x + at, valid), load_pack<kCount>(from.y + at, valid)};
    }
    __device__ Pack<Scalar, kCount> finish(const Raw& raw, int row, int c, int valid) const {
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = raw.y[i];
      dropout.apply(values, row, c);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += raw.x[i];
      const auto rounded = pack_of<Scalar>(values);
      if (valid > 0) store_pack(from.sum + static_cast<size_t>(row) * from.C + c, rounded, valid);
      return rounded;
    }
    const ResidualSource& from;
    RowDropout dropout;
  };
  __device__ Started start() const { return {*this, RowDropout(site, T)}; }
};

// dsum += dx; dy = dropout'(dsum), from the stored dsum.
template <typename Scalar>
struct ResidualSink {
  static constexpr int kCount = kPack<Scalar>;
  Scalar *dsum, *dy;
  int T, C;
  Dropout site;

  struct Started {
    __device__ auto load(int row, int c, int valid) const {
      return load_pack<kCount>(
          static_cast<const Scalar*>(to.dsum) + (valid > 0 ? static_cast<size_t>(row) * to.C + c : 0), valid);
    }
    __device__ void finish(const Pack<Scalar, kCount>& before, float (&values)[kCount], int row, int c,
                           int valid) const {
      const size_t at = static_cast<size_t>(row) * to.C + c;
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += before[i];
      const auto rounded = pack_of<Scalar>(values);
      store_pack(to.dsum + at, rounded, valid);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = rounded[i];
      dropout.apply(values, row, c);
      store_pack(to.dy + at, values, valid);
    }
    const ResidualSink& to;
    RowDropout dropout;
  };
  __device__ Started start() const { return {*this, RowDropout(site, T)}; }
};

LayerNormShape rows_of(const ResidualLayerNormShape& shape) { return {shape.B * shape.T, shape.C, shape.eps}; }

}  // namespace

template <typename Scalar>
void residual_layernorm_forward(const CudaContext& ctx, Scalar* out, Scalar* sum, float* mean, float* rstd,
                                const Scalar* x, const Scalar* y, const float* weight, const float* bias,
                                const ResidualLayerNormShape& shape, const Dropout& dropout) {
  const ResidualSource<Scalar> source{sum, x, y, shape.T, shape.C, dropout};
  launch_forward(ctx, out, mean, rstd, source, weight, bias, rows_of(shape));
}

size_t residual_layernorm_backward_scratch(const CudaContext&, const ResidualLayerNormShape& shape) {
  return backward_scratch(rows_of(shape));
}

template <typename Scalar>
void residual_layernorm_backward(const CudaContext& ctx, Scalar* dsum, Scalar* dy, float* dweight, float* dbias,
                                 const Scalar* dout, const Scalar* sum, const float* mean, const float* rstd,
                                 const float* weight, float* scratch, const ResidualLayerNormShape& shape,
                                 const Dropout& dropout, Write write_parameters) {
  const ResidualSink<Scalar> sink{dsum, dy, shape.T, shape.C, dropout};
  launch_backward(ctx, dweight, dbias, Backward<Scalar>{dout, sum, mean, rstd, weight, scratch}, sink, rows_of(shape),
                  write_parameters);
}

template void residual_layernorm_forward(const CudaContext&, float*, float*, float*, float*, const float*, const float*,
                                         const float*, const float*, const ResidualLayerNormShape&, const Dropout&);
template void residual_layernorm_forward(const CudaContext&, Bf16*, Bf16*, float*, float*, const Bf16*, const Bf16*,
                                         const float*, const float*, const ResidualLayerNormShape&, const Dropout&);
template void residual_layernorm_backward(const CudaContext&, float*, float*, float*, float*, const float*,
                                          const float*, const float*, const float*, const float*, float*,
                                          const ResidualLayerNormShape&, const Dropout&, Write);
template void residual_layernorm_backward(const CudaContext&, Bf16*, Bf16*, float*, float*, const Bf16*, const Bf16*,
                                          const float*, const float*, const float*, float*,
                                          const ResidualLayerNormShape&, const Dropout&, Write);

}  // namespace glint
