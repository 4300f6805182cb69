#include "kernels/residual_layernorm.h"

#include "kernels/cuda/layernorm_backward.cuh"
#include "kernels/cuda/layernorm_forward.cuh"
#include "kernels/cuda/row_dropout.cuh"

namespace glint {
namespace {

using namespace layernorm;

// Dropout of a thread's part of rows, if it is on.
template <typename Part, bool kOn>
class PartDropout {
 public:
  struct Random {
    uint32_t bytes[Part::kPacks][Part::kCount / 4];
  };

  __device__ PartDropout(const Part& part, const Dropout& site, int T) : part_(part), dropout_(site, T) {}
  __device__ Random draw(int row) const {
    Random random = {};
    if constexpr (kOn) dropout_.draw_packs(random.bytes, dropout_.of_row(row), part_.member, part_.step());
    return random;
  }
  // values = dropout(pack), pack k of the row that `random` was drawn for.
  template <typename P, int kCount>
  __device__ void apply(float (&values)[kCount], const P& pack, const Random& random, int k) const {
    if constexpr (kOn) {
      dropout_.keep(values, pack, random.bytes[k]);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = pack[i];
    }
  }

 private:
  const Part& part_;
  RowDropout dropout_;
};

// Rows of x + dropout(y), which forward stores in sum. The rounded sum is normalised, since backward reads that.
template <typename Scalar, bool kDropout>
struct ResidualSource {
  static constexpr int kArrays = 2, kCount = kPack<Scalar>;
  Scalar* sum;
  const Scalar *x, *y;
  int T;
  Dropout site;

  template <typename Part>
  struct Started {
    using Random = typename PartDropout<Part, kDropout>::Random;
    __device__ Random draw(int row) const { return dropout.draw(row); }
    template <typename Stream>
    __device__ Pack<Scalar, kCount> finish(const Stream& stream, const Random& random, int row, int k) const {
      const auto under = stream.pack(0, k);
      float values[kCount];
      dropout.apply(values, stream.pack(1, k), random, k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += under[i];
      const auto rounded = pack_of<Scalar>(values);
      part.store(from.sum, row, k, rounded);
      return rounded;
    }
    const Part& part;
    const ResidualSource& from;
    PartDropout<Part, kDropout> dropout;
  };
  template <typename Part>
  __device__ Started<Part> start(const Part& part) const {
    return {part, *this, {part, site, T}};
  }
  __device__ Arrays<Scalar, 2> arrays() const { return {{x, y}}; }
  bool aligned() const { return aligned_arrays({sum, x, y}); }
};

// dsum += dx; dy = dropout'(dsum), from the stored dsum.
template <typename Scalar, bool kDropout>
struct ResidualSink {
  static constexpr int kArrays = 3, kCount = kPack<Scalar>;
  Scalar *dsum, *dy;
  int T;
  Dropout site;

  template <typename Part>
  struct Started {
    using Random = typename PartDropout<Part, kDropout>::Random;
    __device__ Random draw(int row) const { return dropout.draw(row); }
    template <typename Stream>
    __device__ void finish(const Stream& stream, const Random& random, float (&values)[kCount], int row, int k) const {
      const auto before = stream.pack(2, k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += before[i];
      const auto rounded = pack_of<Scalar>(values);
      part.store(to.dsum, row, k, rounded);
      dropout.apply(values, rounded, random, k);
      part.store(to.dy, row, k, pack_of<Scalar>(values));
    }
    const Part& part;
    const ResidualSink& to;
    PartDropout<Part, kDropout> dropout;
  };
  template <typename Part>
  __device__ Started<Part> start(const Part& part) const {
    return {part, *this, {part, site, T}};
  }
  __device__ Arrays<Scalar, 3> arrays(const Scalar* dout, const Scalar* x) const { return {{dout, x, dsum}}; }
  bool aligned() const { return aligned_arrays({dsum, dy}); }
};

LayerNormShape rows_of(const ResidualLayerNormShape& shape) { return {shape.B * shape.T, shape.C, shape.eps}; }

}  // namespace

template <typename Scalar>
void residual_layernorm_forward(const CudaContext& ctx, Scalar* out, Scalar* sum, float* mean, float* rstd,
                                const Scalar* x, const Scalar* y, const float* weight, const float* bias,
                                const ResidualLayerNormShape& shape, const Dropout& dropout) {
  const auto launch = [&](const auto& source) {
    launch_forward(ctx, out, mean, rstd, source, weight, bias, rows_of(shape));
  };
  if (dropout.on()) launch(ResidualSource<Scalar, true>{sum, x, y, shape.T, dropout});
  else launch(ResidualSource<Scalar, false>{sum, x, y, shape.T, dropout});
}

size_t residual_layernorm_backward_scratch(const CudaContext&, const ResidualLayerNormShape& shape) {
  return backward_scratch(rows_of(shape));
}

template <typename Scalar>
void residual_layernorm_backward(const CudaContext& ctx, Scalar* dsum, Scalar* dy, float* dweight, float* dbias,
                                 const Scalar* dout, const Scalar* sum, const float* mean, const float* rstd,
                                 const float* weight, float* scratch, const ResidualLayerNormShape& shape,
                                 const Dropout& dropout, Write write_parameters) {
  const auto launch = [&](const auto& sink) {
    launch_backward(ctx, dweight, dbias, Backward<Scalar>{dout, sum, mean, rstd, weight, scratch}, sink, rows_of(shape),
                    write_parameters);
  };
  if (dropout.on()) launch(ResidualSink<Scalar, true>{dsum, dy, shape.T, dropout});
  else launch(ResidualSink<Scalar, false>{dsum, dy, shape.T, dropout});
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
