#include "kernels/cuda/layernorm_rows.cuh"

namespace glint {
namespace {

using namespace layernorm;

template <typename Scalar>
struct PlainSource {
  const Scalar* x;
  int C;

  __device__ PlainSource start() const { return *this; }
  __device__ auto load(int row, int c, int valid) const {
    return load_pack<kPack<Scalar>>(x + (valid > 0 ? static_cast<size_t>(row) * C + c : 0), valid);
  }
  template <typename Raw>
  __device__ Raw finish(const Raw& raw, int, int, int) const {
    return raw;
  }
};

template <typename Scalar>
struct PlainSink {
  Scalar* dx;
  int C;
  Write write;

  __device__ PlainSink start() const { return *this; }
  __device__ auto load(int row, int c, int valid) const {
    const bool wanted = write == Write::add && valid > 0;
    return load_pack<kPack<Scalar>>(static_cast<const Scalar*>(dx) + (wanted ? static_cast<size_t>(row) * C + c : 0),
                                    wanted ? valid : 0);
  }
  template <typename Raw, int kCount>
  __device__ void finish(const Raw& before, float (&values)[kCount], int row, int c, int valid) const {
    if (write == Write::add) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += before[i];
    }
    store_pack(dx + static_cast<size_t>(row) * C + c, values, valid);
  }
};

}  // namespace

template <typename Scalar>
void layernorm_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x,
                       const float* weight, const float* bias, const LayerNormShape& shape) {
  launch_forward(ctx, out, mean, rstd, PlainSource<Scalar>{x, shape.C}, weight, bias, shape);
}

size_t layernorm_backward_scratch(const CudaContext&, const LayerNormShape& shape) { return backward_scratch(shape); }

template <typename Scalar>
void layernorm_backward(const CudaContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout,
                        const Scalar* x, const float* mean, const float* rstd, const float* weight, float* scratch,
                        const LayerNormShape& shape, Write write_dx, Write write_parameters) {
  launch_backward(ctx, dweight, dbias, Backward<Scalar>{dout, x, mean, rstd, weight, scratch},
                  PlainSink<Scalar>{dx, shape.C, write_dx}, shape, write_parameters);
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
