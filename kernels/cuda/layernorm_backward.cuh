// Layer norm's backward. A Sink takes dx:
//   kArrays, arrays(dout, x)                 these, and what dx is added to
//   aligned()                                whether its arrays are
//   start(part)                              the state of a thread:
//     draw(row)                                random numbers
//     void finish(stream, random, dx, row, k)  takes pack k
#pragma once

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/layernorm_rows.cuh"

namespace glint::layernorm {

inline constexpr int kBackwardChannels = 16;  // of a row that a thread holds, where it is not of whole packs
// Blocks that registers leave room for on a multiprocessor, by packs of a thread.
template <typename Part>
inline constexpr int kBackwardResident = Part::kWhole ? (Part::kPacks == 1 ? 3 : 2) : 1;
// Rows that a team has in flight, and blocks: measured on an H100, 27 November 2026, which runs 2 x 132 at once. Every
// block makes partial sums, so their number is the same on every GPU, and the bits are too.
template <typename Part>
inline constexpr int kBackwardStages = Part::kPacks == 3 ? 1 : 2;
inline constexpr int kMaxBlocks = 264;

// Forward's results, and backward's gradients.
template <typename Scalar>
struct Backward {
  const Scalar *dout, *x;
  const float *mean, *rstd, *weight;
  float* partial;  // (blocks, 2, C): dweight, dbias

  struct Moments {
    float mean, rstd;
  };
  __device__ Moments moments(int row) const { return {mean ? mean[row] : 0.0f, rstd[row]}; }
};

// The sums of a block's teams in shared memory, (teams, 2, kChannels, step + 4): element i of pack k of a thread is
// number k * kCount + i of column `member`. So neither a warp that writes its own, nor one that reads neighbouring
// channels, has bank conflicts.
template <typename Part>
struct TeamSums {
  static constexpr int kCount = Part::kCount;

  static size_t bytes(const Teams& teams) {
    return static_cast<size_t>(teams.count * 2 * Part::kChannels * width(teams.warps * 32)) * sizeof(float);
  }
  __host__ __device__ static int width(int step) { return step + 4; }

  __device__ void store(const float (&sums)[Part::kPacks][kCount], int which, const Part& part) const {
    float* to = shared + (part.team * 2 + which) * Part::kChannels * width(part.step()) + part.member;
#pragma unroll
    for (int k = 0; k < Part::kPacks; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) to[(k * kCount + i) * width(part.step())] = sums[k][i];
    }
  }
  // Over the teams in order.
  __device__ float total(int which, int c, const Part& part, int teams) const {
    const int pack = c / kCount, k = pack / part.step(), member = pack - k * part.step();
    const int size = Part::kChannels * width(part.step());
    const float* from = shared + which * size + (k * kCount + c % kCount) * width(part.step()) + member;
    float sum = 0.0f;
    for (int team = 0; team < teams; ++team) sum += from[team * 2 * size];
    return sum;
  }

  float* shared;
};

// With w = dout * weight and n = (x - mean) * rstd: dx = rstd * (w - mean(w) - n * mean(w * n)); dweight = sum of dout
// * n, dbias = sum of dout.
template <typename Part, typename Sink>
__global__ void __launch_bounds__(Part::kThreads, kBackwardResident<Part>)
    backward_kernel(const __grid_constant__ Backward<typename Part::Scalar> a, const __grid_constant__ Sink to,
                    const __grid_constant__ Problem problem, const Teams teams) {
  constexpr int kPacks = Part::kPacks, kCount = Part::kCount;
  constexpr int kStages = kBackwardStages<Part>;
  using Stream = RowStream<Part, Sink::kArrays, kStages>;
  auto& scratch = dynamic_shared<BlockScratch<float, 2>>();
  const Part part(teams, problem.C);
  const auto sink = to.start(part);
  Stream stream(part, to.arrays(a.dout, a.x), &scratch + 1);
  const int stride = gridDim.x * teams.count, first = blockIdx.x * teams.count + part.team;
  for (int s = 0; s < kStages; ++s) stream.fetch(first + s * stride, first + s * stride < problem.rows);
  float dweight[kPacks][kCount] = {}, dbias[kPacks][kCount] = {};
  auto next = a.moments(min(first, problem.rows - 1));  // a row ahead too
  int turn = 0;
  for (int row = first; row < problem.rows; row += stride, ++turn) {
    const auto [mean, rstd] = next;
    next = a.moments(min(row + stride, problem.rows - 1));
    stream.next(row);
    float sums[2] = {};  // of w, of w * n
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const auto dout = stream.pack(0, k), x = stream.pack(1, k);
      const auto weight = part.load(a.weight, k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float n = (x[i] - mean) * rstd, w = dout[i] * weight[i];
        dweight[k][i] += dout[i] * n;  // of a channel past the end: never read
        dbias[k][i] += dout[i];
        sums[0] += w;
        sums[1] += w * n;
      }
    }
    reduce_group(sums, Sum{}, scratch, turn, part.warps());
    const auto random = sink.draw(row);
    __syncwarp();  // so that ptxas reads the row again, rather than keep it: the registers are for the sums
    const float mean_w = a.mean ? sums[0] * problem.per_channel : 0.0f, mean_wn = sums[1] * problem.per_channel;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const auto dout = stream.pack(0, k), x = stream.pack(1, k);
      const auto weight = part.load(a.weight, k);
      float dx[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        dx[i] = (dout[i] * weight[i] - mean_w - (x[i] - mean) * rstd * mean_wn) * rstd;
      }
      sink.finish(stream, random, dx, row, k);
    }
    const int ahead = row + kStages * stride;
    stream.fetch(ahead, ahead < problem.rows);
  }
  stream.finish();
  __syncthreads();  // the sums take the place of the rows
  const TeamSums<Part> sums{reinterpret_cast<float*>(&scratch + 1)};
  sums.store(dweight, 0, part);
  sums.store(dbias, 1, part);
  __syncthreads();
  float* partial = a.partial + static_cast<size_t>(blockIdx.x) * 2 * problem.C;
  for (int c = threadIdx.x; c < problem.C; c += blockDim.x) {
    partial[c] = sums.total(0, c, part, teams.count);
    partial[problem.C + c] = sums.total(1, c, part, teams.count);
  }
}

// Enough for both Scalars.
inline size_t backward_scratch(const LayerNormShape& shape) {
  const int blocks = std::clamp(shape.rows, 1, kMaxBlocks);
  return static_cast<size_t>(blocks) * 2 * static_cast<size_t>(shape.C);
}

template <typename Scalar, typename Sink>
void launch_backward(const CudaContext& ctx, float* dweight, float* dbias, const Backward<Scalar>& a, const Sink& sink,
                     const LayerNormShape& shape, Write write_parameters) {
  const auto what = [&] { return str_cat("layernorm_backward, rows ", shape.rows, ", C ", shape.C); };
  const bool aligned = sink.aligned() && aligned_arrays({a.dout, a.x, a.weight});
  int blocks = 0;
  with_part<kBackwardChannels, 3, Scalar>(shape.C, aligned, [&]<typename Part>() {
    const Teams teams = Part::teams(shape.C);
    Launch size = launch_of(teams, shape.rows, kMaxBlocks);
    const size_t rows = size.block.x * RowStream<Part, Sink::kArrays, kBackwardStages<Part>>::kBytes;
    size.shared_bytes = sizeof(BlockScratch<float, 2>) + std::max(rows, TeamSums<Part>::bytes(teams));
    blocks = static_cast<int>(size.grid.x);
    launch(ctx, size, what, backward_kernel<Part, Sink>, a, sink, Problem(shape), teams);
  });
  add_partial_rows(ctx, {dweight, dbias}, a.partial, blocks, shape.C, write_parameters);
}

}  // namespace glint::layernorm
