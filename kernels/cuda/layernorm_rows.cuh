// Layer norm of rows held in registers, forward and backward, alone and fused with the residual before it. A row
// belongs to a team of warps, usually one; larger teams synchronize with barriers.
//
// The two differ in a Source (of forward's rows) and a Sink (for backward's dx). start() returns the state of a thread,
// which works in two steps, so that all loads of a row are in flight before the first one is used:
//   Raw load(row, c, valid)               a pack of the row, as stored in memory
//   ... finish(raw, ..., row, c, valid)   the values computed from it
#pragma once

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/layernorm.h"

namespace glint::layernorm {

inline constexpr int kMostChannels = 6144;
inline constexpr int kWarps = 8;  // of a block, or more if a team has more
// Channels of a row that a thread holds; half as many in backward, which also keeps sums.
inline constexpr int kForwardChannels = 32, kBackwardChannels = 16;
inline constexpr int kForwardThreads = std::max(32 * kWarps, kMostChannels / kForwardChannels);
inline constexpr int kBackwardThreads = std::max(32 * kWarps, kMostChannels / kBackwardChannels);
template <typename Scalar>  // launch bounds: for bf16 so that two blocks of kWarps fit a multiprocessor
inline constexpr int kBackwardBound = sizeof(Scalar) == 2 ? 512 : kBackwardThreads;
static_assert(kBackwardThreads <= 512);
inline constexpr int kMostBlocks = 512;  // partial sums of backward; the same on every GPU, so that bits are too

struct Teams {
  int warps;  // of a team
  int count;  // teams of a block
};

inline Teams teams_of(int C, int channels) {
  GLINT_CHECK(C > 0 && C <= kMostChannels, "layer norm of ", C, " channels: the CUDA kernels take up to ",
              kMostChannels);
  const int warps = (C + 32 * channels - 1) / (32 * channels);
  return {warps, std::max(kWarps / warps, 1)};
}

inline Launch launch_of(const Teams& teams, int rows, int most_blocks, size_t shared_bytes) {
  const int blocks = std::clamp((rows + teams.count - 1) / teams.count, 1, most_blocks);
  return {dim3(blocks), dim3(32 * teams.warps * teams.count), shared_bytes};
}

// Position of the running thread.
struct Place {
  __device__ explicit Place(const Teams& teams)
      : team(threadIdx.x / 32 / teams.warps), member(threadIdx.x - team * teams.warps * 32), step(teams.warps * 32) {}

  // The first channel of the thread's pack k: neighbouring threads have neighbouring packs.
  __device__ int channel(int k, int count) const { return (member + k * step) * count; }

  int team, member, step;
};

template <typename Scalar, typename Source>
__global__ void __launch_bounds__(kForwardThreads)
    forward_kernel(Scalar* out, float* mean, float* rstd, const __grid_constant__ Source from, const float* weight,
                   const float* bias, const LayerNormShape shape, const Teams teams) {
  constexpr int kCount = kPack<Scalar>, kPerRow = kForwardChannels / kCount;
  auto& scratch = dynamic_shared<BlockScratch<float>>();
  const auto source = from.start();
  const Place place(teams);
  const int C = shape.C;
  for (int first = blockIdx.x * teams.count; first < shape.rows; first += gridDim.x * teams.count) {
    const int row = first + place.team;
    const bool active = row < shape.rows;  // the others only take part in the barriers
    decltype(source.load(0, 0, 0)) raw[kPerRow];
    Pack<Scalar, kCount> x[kPerRow];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount);
      raw[k] = source.load(row, c, active ? C - c : 0);
    }
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount);
      x[k] = source.finish(raw[k], row, c, active ? C - c : 0);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum += x[k][i];  // 0 past the end
    }
    const float row_mean = reduce_group(sum, Sum{}, scratch, 0, teams.warps) / static_cast<float>(C);
#pragma unroll
    for (auto& pack : x) pack.forget();
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int valid = C - place.channel(k, kCount);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float away = i < valid ? x[k][i] - row_mean : 0.0f;
        squares += away * away;
      }
    }
    const float variance = reduce_group(squares, Sum{}, scratch, 1, teams.warps) / static_cast<float>(C);
#pragma unroll
    for (auto& pack : x) pack.forget();
    const float row_rstd = 1.0f / sqrtf(variance + shape.eps);
    if (active && place.member == 0) mean[row] = row_mean, rstd[row] = row_rstd;
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount), valid = active ? C - c : 0;
      if (valid <= 0) continue;
      const auto w = load_pack<kCount>(weight + c, valid),
                 b = load_pack<kCount>((bias ? bias : weight) + c, bias ? valid : 0);
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = (x[k][i] - row_mean) * row_rstd * w[i] + b[i];
      store_pack(out + static_cast<size_t>(row) * C + c, values, valid);
    }
  }
}

// Forward's results, and backward's gradients.
template <typename Scalar>
struct Backward {
  const Scalar *dout, *x;
  const float *mean, *rstd, *weight;
  float* partial;  // (blocks, 2, C): dweight, dbias
};

// partial of this block = dweight and dbias summed over its teams in order.
template <int kPerRow, int kCount>
__device__ void store_partial(float* partial, const float (&dweight)[kPerRow][kCount],
                              const float (&dbias)[kPerRow][kCount], float* shared, int C, const Teams& teams,
                              const Place& place) {
  for (int team = 0; team < teams.count; ++team) {
    __syncthreads();
    if (team != place.team) continue;
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (c + i >= C) continue;
        shared[c + i] = team == 0 ? dweight[k][i] : shared[c + i] + dweight[k][i];
        shared[C + c + i] = team == 0 ? dbias[k][i] : shared[C + c + i] + dbias[k][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) partial[i] = shared[i];
}

// With w = dout * weight and n = (x - mean) * rstd: dx = rstd * (w - mean(w) - n * mean(w * n)); dweight = sum of dout
// * n, dbias = sum of dout.
template <typename Scalar, typename Sink>
__global__ void __launch_bounds__(kBackwardBound<Scalar>)
    backward_kernel(const __grid_constant__ Backward<Scalar> a, const __grid_constant__ Sink to,
                    const LayerNormShape shape, const Teams teams) {
  constexpr int kCount = kPack<Scalar>, kPerRow = kBackwardChannels / kCount;
  auto& scratch = dynamic_shared<BlockScratch<float, 2>>();
  float* shared_partial = reinterpret_cast<float*>(&scratch + 1);  // (2, C)
  const auto sink = to.start();
  const Place place(teams);
  const int C = shape.C;
  float dweight[kPerRow][kCount] = {}, dbias[kPerRow][kCount] = {};
  int turn = 0;
  for (int first = blockIdx.x * teams.count; first < shape.rows; first += gridDim.x * teams.count, ++turn) {
    const int row = first + place.team;
    const bool active = row < shape.rows;
    const size_t at = active ? static_cast<size_t>(row) * C : 0;
    Pack<Scalar, kCount> dout[kPerRow], x[kPerRow];
    decltype(sink.load(0, 0, 0)) raw[kPerRow];
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount), valid = active ? C - c : 0;
      dout[k] = load_pack<kCount>(a.dout + at + c, valid);
      x[k] = load_pack<kCount>(a.x + at + c, valid);
      raw[k] = sink.load(row, c, valid);
    }
    const float mean = active ? a.mean[row] : 0.0f, rstd = active ? a.rstd[row] : 0.0f;
    float sums[2] = {};  // of w, of w * n
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount);
      const auto weight = load_pack<kCount>(a.weight + c, C - c);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float n = (x[k][i] - mean) * rstd, w = dout[k][i] * weight[i];
        dweight[k][i] += dout[k][i] * n;  // of a channel past the end: never read
        dbias[k][i] += dout[k][i];
        sums[0] += w;
        sums[1] += w * n;
      }
    }
    reduce_group(sums, Sum{}, scratch, turn, teams.warps);
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) dout[k].forget(), x[k].forget();
    const float mean_w = sums[0] / static_cast<float>(C), mean_wn = sums[1] / static_cast<float>(C);
#pragma unroll
    for (int k = 0; k < kPerRow; ++k) {
      const int c = place.channel(k, kCount), valid = active ? C - c : 0;
      if (valid <= 0) continue;
      const auto weight = load_pack<kCount>(a.weight + c, valid);
      float dx[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        dx[i] = (dout[k][i] * weight[i] - mean_w - (x[k][i] - mean) * rstd * mean_wn) * rstd;
      }
      sink.finish(raw[k], dx, row, c, valid);
    }
  }
  store_partial(a.partial + static_cast<size_t>(blockIdx.x) * 2 * C, dweight, dbias, shared_partial, C, teams, place);
}

// ---- Host

template <typename Scalar, typename Source>
void launch_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Source& source,
                    const float* weight, const float* bias, const LayerNormShape& shape) {
  const auto what = [&] { return str_cat("layernorm_forward, rows ", shape.rows, ", C ", shape.C); };
  const Teams teams = teams_of(shape.C, kForwardChannels);
  launch(ctx, launch_of(teams, shape.rows, 4 * kMostBlocks, sizeof(BlockScratch<float>)), what,
         forward_kernel<Scalar, Source>, out, mean, rstd, source, weight, bias, shape, teams);
}

// Enough for both Scalars.
inline size_t backward_scratch(const LayerNormShape& shape) {
  const int blocks = std::clamp(shape.rows, 1, kMostBlocks);
  return static_cast<size_t>(blocks) * 2 * static_cast<size_t>(shape.C);
}

template <typename Scalar, typename Sink>
void launch_backward(const CudaContext& ctx, float* dweight, float* dbias, const Backward<Scalar>& a, const Sink& sink,
                     const LayerNormShape& shape, Write write_parameters) {
  const auto what = [&] { return str_cat("layernorm_backward, rows ", shape.rows, ", C ", shape.C); };
  const Teams teams = teams_of(shape.C, kBackwardChannels);
  const size_t C = static_cast<size_t>(shape.C), shared = sizeof(BlockScratch<float, 2>) + 2 * C * sizeof(float);
  const Launch size = launch_of(teams, shape.rows, kMostBlocks, shared);
  launch(ctx, size, what, backward_kernel<Scalar, Sink>, a, sink, shape, teams);
  const int blocks = static_cast<int>(size.grid.x);
  add_partial_rows(ctx, dweight, a.partial, blocks, shape.C, 2 * C, write_parameters);
  if (dbias) add_partial_rows(ctx, dbias, a.partial + C, blocks, shape.C, 2 * C, write_parameters);
}

}  // namespace glint::layernorm
