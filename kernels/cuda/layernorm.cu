// Layer normalisation. A block owns a row at a time and holds it in registers, so that it comes from memory once; each thread
// has the same channels of every row, whose parameter gradients it adds up over its block's rows.
#include "kernels/layernorm.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/reduce.h"

namespace glint {
namespace {

constexpr int kMostBlocks = 1024;  // of backward; fixed, for no bit may depend on the GPU

// At most; rows too long for one pack a thread want more registers.
template <int kPacks>
inline constexpr int kThreads = kPacks == 1 ? 1024 : 512;

// What a thread has of a row: kPacks packs, a block apart.
template <typename Scalar, int kPacks>
struct Place {
  static constexpr int kCount = kPack<Scalar>;
  int C;
  __device__ int channel(int p) const { return (p * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kCount; }
  __device__ int valid(int p) const { return C - channel(p); }
  // f(pack, element, channel) for the channels that there are.
  template <typename F>
  __device__ void for_each(const F& f) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i < valid(p)) f(p, i, channel(p) + i);
      }
    }
  }
};

template <typename Scalar, int kPacks>
__global__ void __launch_bounds__(kThreads<kPacks>) forward_kernel(Scalar* out, float* mean, float* rstd, const Scalar* x, const float* weight,
                                                       const float* bias, const LayerNormShape shape) {
  const Place<Scalar, kPacks> place{shape.C};
  constexpr int kCount = place.kCount;
  auto& scratch = dynamic_shared<BlockScratch<float>>();
  const int row = blockIdx.x;
  const size_t first = static_cast<size_t>(row) * shape.C;
  Pack<Scalar, kCount> mine[kPacks];
  float sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) mine[p] = load_pack<kCount>(x + first + place.channel(p), place.valid(p));
  place.for_each([&](int p, int i, int) { sum += mine[p][i]; });
  const float m = reduce_block(sum, Sum{}, scratch, 0) / shape.C;
  place.for_each([&](int p, int i, int) { squares += (mine[p][i] - m) * (mine[p][i] - m); });
  const float r = rsqrtf(reduce_block(squares, Sum{}, scratch, 1) / shape.C + shape.eps);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    float values[kCount] = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= place.valid(p)) continue;
      const int c = place.channel(p) + i;
      values[i] = (mine[p][i] - m) * r * weight[c] + (bias ? bias[c] : 0.0f);
    }
    store_pack(out + first + place.channel(p), values, place.valid(p));
  }
  if (threadIdx.x == 0) mean[row] = m, rstd[row] = r;
}

template <typename Scalar>
struct Backward {
  Scalar* dx;
  float *partial_weight, *partial_bias;  // (blocks, C)
  const Scalar *dout, *x;
  const float *mean, *rstd, *weight;
  LayerNormShape shape;
  Write write_dx;
};

template <typename Scalar, int kPacks>
__global__ void __launch_bounds__(kThreads<kPacks>) backward_kernel(const __grid_constant__ Backward<Scalar> a) {
  const Place<Scalar, kPacks> place{a.shape.C};
  constexpr int kCount = place.kCount;
  auto& scratch = dynamic_shared<BlockScratch<float>>();
  float dweight[kPacks][kCount] = {}, dbias[kPacks][kCount] = {};
  for (int row = blockIdx.x; row < a.shape.rows; row += gridDim.x) {
    const size_t first = static_cast<size_t>(row) * a.shape.C;
    const float m = a.mean[row], r = a.rstd[row];
    Pack<Scalar, kCount> x[kPacks], dout[kPacks];
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      x[p] = load_pack<kCount>(a.x + first + place.channel(p), place.valid(p));
      dout[p] = load_pack<kCount>(a.dout + first + place.channel(p), place.valid(p));
    }
    // With n the normalised x and g = dout * weight: dx = rstd * (g - mean(g) - n * mean(g * n)).
    float sum = 0.0f, sum_n = 0.0f;
    place.for_each([&](int p, int i, int c) {
      const float n = (x[p][i] - m) * r, g = dout[p][i] * a.weight[c];
      dweight[p][i] += dout[p][i] * n;
      dbias[p][i] += dout[p][i];
      sum += g;
      sum_n += g * n;
    });
    const float mean_g = reduce_block(sum, Sum{}, scratch, 0) / a.shape.C;
    const float mean_gn = reduce_block(sum_n, Sum{}, scratch, 1) / a.shape.C;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (place.valid(p) <= 0) continue;
      Scalar* dx = a.dx + first + place.channel(p);
      Pack<Scalar, kCount> before = {};
      if (a.write_dx == Write::add) before = load_pack<kCount>(static_cast<const Scalar*>(dx), place.valid(p));
      float values[kCount] = {};
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i >= place.valid(p)) continue;
        const float n = (x[p][i] - m) * r, g = dout[p][i] * a.weight[place.channel(p) + i];
        values[i] = before[i] + r * (g - mean_g - n * mean_gn);
      }
      store_pack(dx, values, place.valid(p));
    }
  }
  place.for_each([&](int p, int i, int c) {
    const size_t at = static_cast<size_t>(blockIdx.x) * a.shape.C + c;
    a.partial_weight[at] = dweight[p][i];
    if (a.partial_bias) a.partial_bias[at] = dbias[p][i];
  });
}

int backward_blocks(const LayerNormShape& shape) { return std::min(shape.rows, kMostBlocks); }

constexpr int kMostChannels = 8192;

// Calls f<kPacks>(threads): a thread has kPacks packs of a row. More channels would want more registers than there are.
template <typename Scalar, typename F>
void with_packs(int C, F&& f) {
  GLINT_CHECK(C <= kMostChannels, "C ", C, ": rows of more than ", kMostChannels, " channels");
  const int packs = (C + kPack<Scalar> - 1) / kPack<Scalar>;
  const auto threads = [&](int each) { return dim3(static_cast<unsigned>((packs + 32 * each - 1) / (32 * each) * 32)); };
  if (packs <= kThreads<1>) return f.template operator()<1>(threads(1));
  if constexpr (kThreads<1> * kPack<Scalar> < kMostChannels) f.template operator()<4>(threads(4));
}

}  // namespace

template <typename Scalar>
void layernorm_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Scalar* x, const float* weight,
                       const float* bias, const LayerNormShape& shape) {
  const auto what = [&] { return text("layernorm_forward, rows ", shape.rows, ", C ", shape.C); };
  with_packs<Scalar>(shape.C, [&]<int kPacks>(dim3 threads) {
    launch(ctx, {dim3(static_cast<unsigned>(shape.rows)), threads, sizeof(BlockScratch<float>)}, what, forward_kernel<Scalar, kPacks>, out,
           mean, rstd, x, weight, bias, shape);
  });
}

size_t layernorm_backward_scratch(const CudaContext& ctx, const LayerNormShape& shape) {
  const int blocks = backward_blocks(shape);
  return 2 * static_cast<size_t>(blocks) * static_cast<size_t>(shape.C) + column_sums_scratch(ctx, blocks, shape.C);
}

template <typename Scalar>
void layernorm_backward(const CudaContext& ctx, Scalar* dx, float* dweight, float* dbias, const Scalar* dout, const Scalar* x,
                        const float* mean, const float* rstd, const float* weight, float* scratch, const LayerNormShape& shape,
                        Write write_dx, Write write_parameters) {
  const auto what = [&] { return text("layernorm_backward, rows ", shape.rows, ", C ", shape.C); };
  const int blocks = backward_blocks(shape);
  const size_t partials = static_cast<size_t>(blocks) * static_cast<size_t>(shape.C);
  float *partial_weight = scratch, *partial_bias = scratch + partials, *rest = scratch + 2 * partials;
  const Backward<Scalar> a{dx, partial_weight, dbias ? partial_bias : nullptr, dout, x, mean, rstd, weight, shape, write_dx};
  with_packs<Scalar>(shape.C, [&]<int kPacks>(dim3 threads) {
    launch(ctx, {dim3(static_cast<unsigned>(blocks)), threads, sizeof(BlockScratch<float>)}, what, backward_kernel<Scalar, kPacks>, a);
  });
  column_sums(ctx, dweight, static_cast<const float*>(partial_weight), blocks, shape.C, rest, write_parameters);
  if (dbias) column_sums(ctx, dbias, static_cast<const float*>(partial_bias), blocks, shape.C, rest, write_parameters);
}

template void layernorm_forward(const CudaContext&, float*, float*, float*, const float*, const float*, const float*, const LayerNormShape&);
template void layernorm_forward(const CudaContext&, Bf16*, float*, float*, const Bf16*, const float*, const float*, const LayerNormShape&);
template void layernorm_backward(const CudaContext&, float*, float*, float*, const float*, const float*, const float*, const float*,
                                 const float*, float*, const LayerNormShape&, Write, Write);
template void layernorm_backward(const CudaContext&, Bf16*, float*, float*, const Bf16*, const Bf16*, const float*, const float*,
                                 const float*, float*, const LayerNormShape&, Write, Write);

}  // namespace glint
