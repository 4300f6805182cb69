#include "kernels/cuda/layernorm_backward.cuh"
#include "kernels/cuda/layernorm_forward.cuh"

namespace glint {
namespace {

using namespace layernorm;

struct NoRandom {};

template <typename Scalar>
struct PlainSource {
  static constexpr int kArrays = 1;
  const Scalar* x;

  struct Started {
    __device__ NoRandom draw(int) const { return {}; }
    template <typename Stream>
    __device__ auto finish(const Stream& stream, NoRandom, int, int k) const {
      return stream.pack(0, k);
    }
  };
  template <typename Part>
  __device__ Started start(const Part&) const {
    return {};
  }
  __device__ Arrays<Scalar, 1> arrays() const { return {{x}}; }
  bool aligned() const { return aligned_arrays({x}); }
};

template <typename Scalar, Write kWrite>
struct PlainSink {
  static constexpr int kArrays = kWrite == Write::add ? 3 : 2;
  Scalar* dx;

  template <typename Part>
  struct Started {
    __device__ NoRandom draw(int) const { return {}; }
    template <typename Stream, int kCount>
    __device__ void finish(const Stream& stream, NoRandom, float (&values)[kCount], int row, int k) const {
      if constexpr (kWrite == Write::add) {
        const auto before = stream.pack(2, k);
#pragma unroll
        for (int i = 0; i < kCount; ++i) values[i] += before[i];
      }
      part.store(to.dx, row, k, pack_of<Scalar>(values));
    }
    const Part& part;
    const PlainSink& to;
  };
  template <typename Part>
  __device__ Started<Part> start(const Part& part) const {
    return {part, *this};
  }
  __device__ Arrays<Scalar, kArrays> arrays(const Scalar* dout, const Scalar* x) const {
    if constexpr (kWrite == Write::add) return {{dout, x, dx}};
    else return {{dout, x}};
  }
  bool aligned() const { return aligned_arrays({dx}); }
};

}  // namespace

template <typename Scalar>
void layernorm_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x,
                       const float* weight, const float* bias, const LayerNormShape& shape) {
  launch_forward(ctx, out, mean, rstd, PlainSource<Scalar>{x}, weight, bias, shape);
}

size_t layernorm_backward_scratch(const CudaContext&, const LayerNormShape& shape) { return backward_scratch(shape); }

template <typename Scalar>
void layernorm_backward(const CudaContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout,
                        const Scalar* x, const float* mean, const float* rstd, const float* weight, float* scratch,
                        const LayerNormShape& shape, Write write_dx, Write write_parameters) {
  const auto launch = [&](const auto& sink) {
    launch_backward(ctx, dweight, dbias, Backward<Scalar>{dout, x, mean, rstd, weight, scratch}, sink, shape,
                    write_parameters);
  };
  if (write_dx == Write::add) launch(PlainSink<Scalar, Write::add>{dx});
  else launch(PlainSink<Scalar, Write::set>{dx});
}

template void layernorm_forward(const CudaContext&, float*, float*, float*, const float*, const float*, const float*,
                                const LayerNormShape&);
template void layernorm_forward(const CudaContext&, Bf16*, float*, float*, const Bf16*, const float*, const float*,
                                const LayerNormShape&);
template void layernorm_backward(const CudaContext&, float*, float*, float*, const float*, const float*, const float*,
                                 const float*, const float*, float*, const LayerNormShape&, Write, Write);
template void layernorm_backward(const CudaContext&, Bf16*, float*, float*, const Bf16*, const Bf16*, const float*,
                                 const float*, const float*, float*, const LayerNormShape&, Write, Write);

}  // namespace glint
