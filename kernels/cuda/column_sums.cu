// Sums over rows: over blocks of rows first, then over the blocks' sums, which are rows again.
#include "kernels/cuda/column_sums.cuh"

#include <algorithm>

#include "kernels/cuda/pack.cuh"
#include "kernels/reduce.h"

namespace glint {
namespace {

constexpr int kWarps = 8, kAhead = 4;  // rows that a warp has in flight
constexpr int kMinRows = 64, kMaxBlocks = 256;

template <typename Scalar>
inline constexpr int kTileColumns = 32 * kPack<Scalar>;  // one pack per lane

// Rows that one block sums: depends only on the shape, so the result's bits do too.
int rows_per_block(int rows) { return std::max(kMinRows, (rows + kMaxBlocks - 1) / kMaxBlocks); }
int blocks_of(int rows) { return std::max((rows + rows_per_block(rows) - 1) / rows_per_block(rows), 1); }

struct Matrix {
  int rows, columns;
};

template <typename Scalar>
struct WarpSums {
  float warps[kWarps][kTileColumns<Scalar>];
};

// Block (tile, y): to[y*columns + c] = or += sum of x[row][c] over its rows. Each warp takes every kWarps-th of them.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps)
    column_sums_kernel(float* to, const Scalar* x, Matrix matrix, int rows_of_block, Write write) {
  constexpr int kCount = kPack<Scalar>;
  auto& shared = dynamic_shared<WarpSums<Scalar>>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * kTileColumns<Scalar>;
  const int c = first + lane * kCount, valid = matrix.columns - c;
  const int begin = blockIdx.y * rows_of_block, end = min(begin + rows_of_block, matrix.rows);
  float sums[kCount] = {};
  for (int row = begin + warp; row < end; row += kAhead * kWarps) {
    Pack<Scalar, kCount> ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int r = row + k * kWarps;
      ahead[k] = load_pack<kCount>(x + static_cast<size_t>(r) * matrix.columns + c, r < end ? valid : 0);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) sums[i] += ahead[k][i];
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) shared.warps[warp][lane * kCount + i] = sums[i];
  __syncthreads();
  for (int i = threadIdx.x; i < kTileColumns<Scalar> && first + i < matrix.columns; i += 32 * kWarps) {
    float total = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += shared.warps[w][i];
    float* sum = to + static_cast<size_t>(blockIdx.y) * matrix.columns + first + i;
    *sum = write == Write::add ? *sum + total : total;
  }
}

template <typename Scalar>
void launch_column_sums(const CudaContext& ctx, float* to, const Scalar* x, const Matrix& matrix, int rows_of_block,
                        int blocks, Write write) {
  const auto what = [&] { return str_cat("column_sums, rows ", matrix.rows, ", columns ", matrix.columns); };
  const int tiles = (matrix.columns + kTileColumns<Scalar> - 1) / kTileColumns<Scalar>;
  launch(ctx, {dim3(tiles, blocks), dim3(32 * kWarps), sizeof(WarpSums<Scalar>)}, what, column_sums_kernel<Scalar>, to,
         x, matrix, rows_of_block, write);
}

// The rows of partial sums are few: narrow tiles, one column a lane, with all rows of a layer norm's in flight, 264.
constexpr int kPartialAhead = 33;

struct Targets {
  float* sums[2];
  int count;
};
struct PartialWarpSums {
  float warps[kWarps][32];
};

// Block (tile, i): to.sums[i][c] = or += sum of partial[row][i][c], for 32 columns.
__global__ void __launch_bounds__(32 * kWarps)
    add_partial_rows_kernel(const __grid_constant__ Targets to, const float* partial, Matrix matrix, Write write) {
  auto& shared = dynamic_shared<PartialWarpSums>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, c = blockIdx.x * 32 + lane;
  float* sums = blockIdx.y == 0 ? to.sums[0] : to.sums[1];
  if (!sums) return;
  const size_t stride = static_cast<size_t>(to.count) * matrix.columns;
  const float* from = partial + static_cast<size_t>(blockIdx.y) * matrix.columns + c;
  float sum = 0.0f;
  for (int row = warp; row < matrix.rows; row += kPartialAhead * kWarps) {
    float ahead[kPartialAhead];
#pragma unroll
    for (int k = 0; k < kPartialAhead; ++k) {
      const int r = row + k * kWarps;
      ahead[k] = r < matrix.rows && c < matrix.columns ? from[r * stride] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kPartialAhead; ++k) sum += ahead[k];
  }
  shared.warps[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= matrix.columns) return;
  float total = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += shared.warps[w][lane];
  sums[c] = write == Write::add ? sums[c] + total : total;
}

}  // namespace

void add_partial_rows(const CudaContext& ctx, std::initializer_list<float*> sums, const float* partial, int rows,
                      int columns, Write write) {
  GLINT_CHECK(sums.size() == 1 || sums.size() == 2, sums.size(), " sums a row");
  const auto what = [&] { return str_cat("add_partial_rows, rows ", rows, ", columns ", columns); };
  Targets to{{}, static_cast<int>(sums.size())};
  std::copy(sums.begin(), sums.end(), to.sums);
  const dim3 grid((columns + 31) / 32, to.count);
  launch(ctx, {grid, dim3(32 * kWarps), sizeof(PartialWarpSums)}, what, add_partial_rows_kernel, to, partial,
         Matrix{rows, columns}, write);
}

size_t column_sums_scratch(const CudaContext&, int rows, int columns) {
  return static_cast<size_t>(blocks_of(rows)) * static_cast<size_t>(columns);
}

template <typename Scalar>
void column_sums(const CudaContext& ctx, float* sums, const Scalar* x, int rows, int columns, float* scratch,
                 Write write) {
  const int blocks = blocks_of(rows);
  const Matrix matrix{rows, columns};
  if (blocks == 1) {
    launch_column_sums(ctx, sums, x, matrix, rows, 1, write);
    return;
  }
  launch_column_sums(ctx, scratch, x, matrix, rows_per_block(rows), blocks, Write::set);
  add_partial_rows(ctx, {sums}, scratch, blocks, columns, write);
}

template void column_sums(const CudaContext&, float*, const float*, int, int, float*, Write);
template void column_sums(const CudaContext&, float*, const Bf16*, int, int, float*, Write);

}  // namespace glint
