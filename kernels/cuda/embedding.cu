#include "kernels/embedding.h"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/row_dropout.cuh"
#include "kernels/cuda/token_order.cuh"

namespace glint {
namespace {

constexpr int kRowGroup = 16;  // channels of one draw

// A thread sixteen channels of a token, those of one draw.
template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    forward_kernel(Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe, const EmbeddingShape shape, const __grid_constant__ DropoutSite site) {
  const RowDropout dropout(site, shape.T);
  const int C = shape.C, T = shape.T, groups = (C + kRowGroup - 1) / kRowGroup;
  const int first_position = shape.first_position ? *shape.first_position : 0;
  for_each_pack<1>(static_cast<size_t>(shape.B) * T * groups, [&](size_t i, int) {
    const size_t row = i / groups;
    const int c = static_cast<int>(i % groups) * kRowGroup, t = static_cast<int>(row % T);
    const auto token = load_pack<kRowGroup>(wte + static_cast<size_t>(tokens[row]) * C + c, C - c);
    const auto position = load_pack<kRowGroup>(wpe + static_cast<size_t>(first_position + t) * C + c, C - c);
    float values[kRowGroup];
#pragma unroll
    for (int k = 0; k < kRowGroup; ++k) values[k] = token[k] + position[k];
    dropout.apply(values, static_cast<int>(row), c);
    store_pack(out + row * C + c, values, C - c);
  });
}

// The rows of dout that make up row `v` of a gradient: those of a token, or of a position.
struct TokenRows {
  const int *starts, *order;
  __device__ int count(int v) const { return starts[v + 1] - starts[v]; }
  __device__ int row(int v, int k) const { return order[starts[v] + k]; }
};
struct PositionRows {
  int B, T;
  __device__ int count(int) const { return B; }
  __device__ int row(int t, int k) const { return k * T + t; }
};

constexpr int kWarps = 8, kSlice = 32 * kRowGroup;  // channels that a warp has at once

struct Partial {
  float sums[kWarps][kRowGroup][33];  // 33: channels that follow one another lie in different banks
};

// A block a row of the gradient. Each warp adds up every kWarps-th of its rows, then their sums are added in order.
template <typename Scalar, typename Rows>
__global__ void __launch_bounds__(32 * kWarps)
    gather_kernel(float* gradient, const Scalar* dout, const Rows rows, int T, int C, const __grid_constant__ DropoutSite site, Write write) {
  Partial& shared = dynamic_shared<Partial>();
  const RowDropout dropout(site, T);
  const int v = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, count = rows.count(v);
  if (count == 0 && write == Write::add) return;
  for (int slice = 0; slice < C; slice += kSlice) {
    const int c = slice + lane * kRowGroup;
    float sum[kRowGroup] = {};
    for (int k = warp; k < count; k += kWarps) {
      const int row = rows.row(v, k);
      const auto pack = load_pack<kRowGroup>(dout + static_cast<size_t>(row) * C + c, C - c);
      float values[kRowGroup];
#pragma unroll
      for (int i = 0; i < kRowGroup; ++i) values[i] = pack[i];
      dropout.apply(values, row, c);
#pragma unroll
      for (int i = 0; i < kRowGroup; ++i) sum[i] += values[i];
    }
    __syncthreads();  // the slice before has been read
#pragma unroll
    for (int i = 0; i < kRowGroup; ++i) shared.sums[warp][i][lane] = sum[i];
    __syncthreads();
    for (int channel = threadIdx.x; channel < kSlice && slice + channel < C; channel += 32 * kWarps) {
      float& to = gradient[static_cast<size_t>(v) * C + slice + channel];
      float total = write == Write::add ? to : 0.0f;
      for (int w = 0; w < min(kWarps, count); ++w) total += shared.sums[w][channel % kRowGroup][channel / kRowGroup];
      to = total;
    }
  }
}

template <typename Scalar, typename Rows>
void launch_gather(const CudaContext& ctx, float* gradient, int n, const Scalar* dout, const Rows& rows, const EmbeddingShape& shape,
                   const DropoutSite& site, Write write) {
  const auto what = [&] { return text("embedding_backward, B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V); };
  launch(ctx, {dim3(static_cast<unsigned>(n)), dim3(32 * kWarps), sizeof(Partial)}, what, gather_kernel<Scalar, Rows>, gradient, dout,
         rows, shape.T, shape.C, site, write);
}

}  // namespace

template <typename Scalar>
void embedding_forward(const CudaContext& ctx, Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout) {
  const auto what = [&] { return text("embedding_forward, B ", shape.B, ", T ", shape.T, ", C ", shape.C); };
  const size_t groups = static_cast<size_t>(shape.B) * shape.T * ((shape.C + kRowGroup - 1) / kRowGroup);
  launch(ctx, flat_launch(groups, 1), what, forward_kernel<Scalar>, out, tokens, wte, wpe, shape, site_of(dropout));
}

size_t embedding_backward_scratch(const CudaContext&, const EmbeddingShape& shape) {
  return TokenOrder::words(shape.B * shape.T, shape.V);
}

template <typename Scalar>
void embedding_backward(const CudaContext& ctx, float* dwte, float* dwpe, const Scalar* dout, const int32_t* tokens, void* scratch,
                        const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte, Write write_dwpe) {
  GLINT_CHECK(shape.first_position == nullptr, "backward starts at position 0");
  const TokenOrder order(tokens, shape.B * shape.T, shape.V, scratch);
  sort_tokens(ctx, order);
  const DropoutSite site = site_of(dropout);
  launch_gather(ctx, dwte, shape.V, dout, TokenRows{order.starts, order.order}, shape, site, write_dwte);
  launch_gather(ctx, dwpe, shape.T, dout, PositionRows{shape.B, shape.T}, shape, site, write_dwpe);
}

template void embedding_forward(const CudaContext&, float*, const int32_t*, const float*, const float*, const EmbeddingShape&, const Dropout&);
template void embedding_forward(const CudaContext&, Bf16*, const int32_t*, const Bf16*, const Bf16*, const EmbeddingShape&, const Dropout&);
template void embedding_backward(const CudaContext&, float*, float*, const float*, const int32_t*, void*, const EmbeddingShape&,
                                 const Dropout&, Write, Write);
template void embedding_backward(const CudaContext&, float*, float*, const Bf16*, const int32_t*, void*, const EmbeddingShape&,
                                 const Dropout&, Write, Write);

}  // namespace glint
