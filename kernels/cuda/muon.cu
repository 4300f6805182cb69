#include "kernels/muon.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/newton_schulz.h"
#include "kernels/reduce.h"

namespace glint {
namespace {

constexpr int kCount = 4;

__global__ void __launch_bounds__(kFlatThreads)
    momentum_kernel(float* gradients, float* m, size_t n, float momentum, const AdamWStep* step) {
  if (step->halted) return;
  const float scale = step->gradient_scale;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto g = load_pack<kCount>(gradients + first, valid), old = load_pack<kCount>(m + first, valid);
    float update[kCount], now[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float gradient = g[i] * scale;
      now[i] = old[i] + (1 - momentum) * (gradient - old[i]);
      update[i] = gradient + momentum * (now[i] - gradient);
    }
    store_pack(m + first, now, valid);
    store_pack(gradients + first, update, valid);
  });
}

__global__ void __launch_bounds__(kFlatThreads)
    update_kernel(float* params, Bf16* params_bf16, const float* update, size_t n, const AdamWStep* step) {
  if (step->halted) return;
  const float keep = step->factors.keep, rate = step->learning_rate;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto old = load_pack<kCount>(params + first, valid), direction = load_pack<kCount>(update + first, valid);
    float now[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) now[i] = old[i] * keep - rate * direction[i];
    store_pack(params + first, now, valid);
    if (params_bf16) store_pack(params_bf16 + first, now, valid);
  });
}

__global__ void __launch_bounds__(kFlatThreads) zero_kernel(float* x, size_t n) {
  const float zeros[kCount] = {};
  for_each_pack<kCount>(n, [&](size_t first, int valid) { store_pack(x + first, zeros, valid); });
}

// Some matrices: as many as a launch has blocks in z.
template <typename T>
struct Matrices {
  T* at[kMostMatrices];
};

constexpr int kTile = 32, kTileRows = 8;  // a tile is transposed by 32 x 8 threads
constexpr int kNormBlocks = 64;           // partial sums of a matrix's squares, at most

unsigned norm_blocks(const MatrixSize& size) {
  return static_cast<unsigned>(std::min<size_t>(size.elements() / kReduceBlock + 1, kNormBlocks));
}

// partial (matrices, blocks): each block's sum of squares.
__global__ void __launch_bounds__(kFlatThreads)
    squares_kernel(double* partial, const __grid_constant__ Matrices<const float> matrices, size_t elements) {
  const float* const x = matrices.at[blockIdx.z];
  double total = 0.0;
  for_each_pack<kCount>(elements, [&](size_t first, int valid) {
    const auto values = load_pack<kCount>(x + first, valid);
#pragma unroll
    for (int i = 0; i < kCount; ++i) total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  });
  total = reduce_block(total, Sum{}, dynamic_shared<BlockScratch<double>>(), 0);
  if (threadIdx.x == 0) partial[blockIdx.z * gridDim.x + blockIdx.x] = total;
}

// out = factor * in (rows, columns), or the transpose of that.
template <typename Out, typename In>
__device__ void copy_tile(Out* out, const In* in, int rows, int columns, bool transposed, float factor) {
  auto& tile = dynamic_shared<float[kTile][kTile + 1]>();  // one more, so that its columns lie in different banks
  const int row0 = kTile * static_cast<int>(blockIdx.y), column0 = kTile * static_cast<int>(blockIdx.x);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  for (int i = y; i < kTile; i += kTileRows) {
    const int row = row0 + i, column = column0 + x;
    if (row >= rows || column >= columns) continue;
    const auto place = static_cast<size_t>(row) * static_cast<size_t>(columns) + static_cast<size_t>(column);
    const float value = factor * to_float(in[place]);
    if (transposed) tile[i][x] = value;
    else out[place] = from_float<Out>(value);
  }
  if (!transposed) return;
  __syncthreads();
  for (int i = y; i < kTile; i += kTileRows) {
    const int row = row0 + x, column = column0 + i;
    if (row < rows && column < columns)
      out[static_cast<size_t>(column) * static_cast<size_t>(rows) + static_cast<size_t>(row)] =
          from_float<Out>(tile[x][i]);
  }
}
Launch tile_launch(int rows, int columns, size_t matrices) {
  const auto tiles = [](int n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  return {dim3(tiles(columns), tiles(rows), static_cast<unsigned>(matrices)), dim3(kTile, kTileRows),
          sizeof(float[kTile][kTile + 1])};
}

// x (matrices, r, c) = each matrix over its norm, transposed if tall. partial (matrices, parts): its squares.
__global__ void __launch_bounds__(kTile* kTileRows)
    normalize_kernel(Bf16* x, const __grid_constant__ Matrices<const float> matrices, MatrixSize size,
                     const double* partial, int parts) {
  double squares = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < parts; i += 32) squares += partial[blockIdx.z * parts + i];
  squares = reduce_warp(squares, Sum{});  // a warp is a row of the block
  const auto factor = static_cast<float>(1 / fmax(sqrt(squares), NewtonSchulz::kMinNorm));
  copy_tile(x + blockIdx.z * size.elements(), matrices.at[blockIdx.z], size.rows, size.columns, size.tall(), factor);
}

// Each matrix = factor * x (matrices, r, c), transposed back if tall.
__global__ void __launch_bounds__(kTile* kTileRows)
    scale_kernel(const __grid_constant__ Matrices<float> matrices, const Bf16* x, MatrixSize size, float factor) {
  const bool tall = size.tall();
  copy_tile(matrices.at[blockIdx.z], x + blockIdx.z * size.elements(), tall ? size.columns : size.rows,
            tall ? size.rows : size.columns, tall, factor);
}

// polynomial (matrices, r, r): A^2 becomes p(A), with A = gram.
__global__ void __launch_bounds__(kFlatThreads) polynomial_kernel(Bf16* polynomial, const Bf16* gram, size_t n, int r) {
  constexpr int kPolynomials = kPack<Bf16>;
  for_each_pack<kPolynomials>(n, [&](size_t first, int valid) {
    const auto a = load_pack<kPolynomials>(gram + first, valid),
               squared = load_pack<kPolynomials>(polynomial + first, valid);
    const auto width = static_cast<unsigned>(r);
    auto column = static_cast<unsigned>(first % width), row = static_cast<unsigned>(first / width % width);
    float values[kPolynomials];
#pragma unroll
    for (int i = 0; i < kPolynomials; ++i) {
      values[i] = NewtonSchulz::kB * a[i] + NewtonSchulz::kC * squared[i];
      if (column == row) values[i] += NewtonSchulz::kA;
      if (++column == width) column = 0, row = row + 1 == width ? 0 : row + 1;
    }
    store_pack(polynomial + first, values, valid);
  });
}

}  // namespace

void muon_momentum(const CudaContext& ctx, float* gradients, float* m, size_t n, const Muon& settings,
                   const AdamWStep* step) {
  const auto what = [&] { return str_cat("muon_momentum of ", n, " parameters"); };
  launch(ctx, flat_launch(n, kCount), what, momentum_kernel, gradients, m, n, settings.momentum, step);
}

size_t orthogonalize_scratch(const CudaContext&, const MatrixSize& size, int count, MuonProducts) {
  return NewtonSchulzScratch<Bf16>(size, count, static_cast<int>(norm_blocks(size)), nullptr).bytes;
}

// Two tiles of the smaller products for each of an H100's 132 processors.
int matrices_at_once(const CudaContext&, const MatrixSize& size) {
  constexpr int kTiles = 264, kProductTile = 128;
  const int tiles = (size.shorter() + kProductTile - 1) / kProductTile;
  return std::clamp((kTiles + tiles * tiles - 1) / (tiles * tiles), 1, kMostMatrices);
}

void orthogonalize(const CudaContext& ctx, std::span<float* const> matrices, const MatrixSize& size, MuonProducts,
                   void* scratch) {
  GLINT_CHECK(matrices.size() <= kMostMatrices, matrices.size(), " matrices");
  const auto count = static_cast<int>(matrices.size());
  const unsigned parts = norm_blocks(size);
  const NewtonSchulzScratch<Bf16> s(size, count, static_cast<int>(parts), scratch);
  const auto what = [&] { return str_cat("orthogonalize of ", count, " times ", size.rows, " x ", size.columns); };
  Matrices<float> all{};
  Matrices<const float> inputs{};
  for (size_t i = 0; i < matrices.size(); ++i) all.at[i] = matrices[i], inputs.at[i] = matrices[i];
  launch(ctx, {dim3(parts, 1, static_cast<unsigned>(count)), dim3(kFlatThreads), sizeof(BlockScratch<double>)}, what,
         squares_kernel, s.squares, inputs, size.elements());
  launch(ctx, tile_launch(size.rows, size.columns, matrices.size()), what, normalize_kernel, s.x, inputs, size,
         static_cast<const double*>(s.squares), static_cast<int>(parts));
  const auto product = [&](Bf16* out, const Bf16* x, const Bf16* weight, const LinearShape& shape) {
    ColumnMajorProduct p = forward_product(out, x, weight, static_cast<const Bf16*>(nullptr), shape);
    p.count = count;
    GLINT_CHECK(multiply(ctx, p), "cuBLASLt has no algorithm: ", what());
  };
  const Bf16* const x = newton_schulz(s, size, product, [&](Bf16* polynomial, const Bf16* gram) {
    const auto r = static_cast<size_t>(size.shorter()), n = static_cast<size_t>(count) * r * r;
    launch(ctx, flat_launch(n, kPack<Bf16>), what, polynomial_kernel, polynomial, gram, n, size.shorter());
  });
  launch(ctx, tile_launch(size.shorter(), size.longer(), matrices.size()), what, scale_kernel, all, x, size,
         size.update_scale());
}

void muon_update(const CudaContext& ctx, float* params, Bf16* params_bf16, const float* update, size_t n,
                 const AdamWStep* step) {
  const auto what = [&] { return str_cat("muon_update of ", n, " parameters"); };
  launch(ctx, flat_launch(n, kCount), what, update_kernel, params, params_bf16, update, n, step);
}

void set_zero(const CudaContext& ctx, float* x, size_t n) {
  const auto what = [&] { return str_cat("set_zero of ", n, " elements"); };
  launch(ctx, flat_launch(n, kCount), what, zero_kernel, x, n);
}

}  // namespace glint
