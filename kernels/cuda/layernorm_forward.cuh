// Layer norm's forward. A Source gives the rows:
//   kArrays, arrays()                    what it reads
//   aligned()                            whether all its arrays are
//   start(part)                          the state of a thread:
//     draw(row)                            random numbers, before the row is here
//     Pack finish(stream, random, row, k)  pack k
#pragma once

#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/layernorm_rows.cuh"

namespace glint::layernorm {

inline constexpr int kForwardChannels = 32;  // of a row that a thread holds, where it is not of whole packs
// Blocks of a multiprocessor, by packs of a thread: registers and shared memory leave room for them.
template <typename Part>
inline constexpr int kForwardResident = Part::kWhole ? 4 : 1;

// Rows that a team has in flight: measured on an H100, 27 November 2026.
template <typename Part>
inline constexpr int kForwardStages = (Part::kOneWarp && Part::kPacks == 4) ? 2 : 1;

template <typename Part, typename Source>
__global__ void __launch_bounds__(Part::kThreads, kForwardResident<Part>)
    forward_kernel(typename Part::Scalar* out, float* mean, float* rstd, const __grid_constant__ Source from,
                   const float* weight, const float* bias, const __grid_constant__ Problem problem, const Teams teams) {
  constexpr int kPacks = Part::kPacks, kCount = Part::kCount;
  constexpr int kStages = kForwardStages<Part>;
  using Stream = RowStream<Part, Source::kArrays, kStages>;
  auto& scratch = dynamic_shared<BlockScratch<float>>();
  const Part part(teams, problem.C);
  const auto source = from.start(part);
  Stream stream(part, from.arrays(), &scratch + 1);
  const int stride = gridDim.x * teams.count, first = blockIdx.x * teams.count + part.team;
  for (int s = 0; s < kStages; ++s) stream.fetch(first + s * stride, first + s * stride < problem.rows);
  int turn = 0;
  for (int row = first; row < problem.rows; row += stride, ++turn) {  // the warps of a team together
    const auto random = source.draw(row);
    stream.next(row);
    Pack<typename Part::Scalar, kCount> x[kPacks];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      x[k] = source.finish(stream, random, row, k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum += x[k][i];  // 0 past the end
    }
    const int ahead = row + kStages * stride;
    stream.fetch(ahead, ahead < problem.rows);
    const float row_mean = mean ? reduce_group(sum, Sum{}, scratch, 0, part.warps()) * problem.per_channel : 0.0f;
#pragma unroll
    for (auto& pack : x) pack.forget();
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float away = x[k][i] - (part.has(k, i) ? row_mean : 0.0f);
        squares += away * away;
      }
    }
    const float variance = reduce_group(squares, Sum{}, scratch, mean ? 1 : turn, part.warps()) * problem.per_channel;
#pragma unroll
    for (auto& pack : x) pack.forget();
    const float row_rstd = 1.0f / sqrtf(variance + problem.eps);
    if (part.member == 0) rstd[row] = row_rstd;
    if (part.member == 0 && mean) mean[row] = row_mean;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const auto w = part.load(weight, k), b = bias ? part.load(bias, k) : Pack<float, kCount>{};
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = (x[k][i] - row_mean) * row_rstd * w[i] + b[i];
      part.store(out, row, k, pack_of<typename Part::Scalar>(values));
    }
  }
  stream.finish();
}

template <typename Scalar, typename Source>
void launch_forward(const CudaContext& ctx, Scalar* out, float* mean, float* rstd, const Source& source,
                    const float* weight, const float* bias, const LayerNormShape& shape) {
  const auto what = [&] { return str_cat("layernorm_forward, rows ", shape.rows, ", C ", shape.C); };
  const bool aligned = source.aligned() && aligned_arrays({out, weight, bias});
  with_part<kForwardChannels, 4, Scalar>(shape.C, aligned, [&]<typename Part>() {
    const Teams teams = Part::teams(shape.C);
    const int blocks = kForwardResident<Part> * device_attribute(cudaDevAttrMultiProcessorCount);
    Launch size = launch_of(teams, shape.rows, blocks);
    size.shared_bytes =
        sizeof(BlockScratch<float>) + size.block.x * RowStream<Part, Source::kArrays, kForwardStages<Part>>::kBytes;
    launch(ctx, size, what, forward_kernel<Part, Source>, out, mean, rstd, source, weight, bias, Problem(shape), teams);
  });
}

}  // namespace glint::layernorm
