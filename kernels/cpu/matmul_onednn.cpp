// oneDNN's dnnl_sgemm, in one of two ways, as measured with oneDNN 2.6 on two cores of a Zen 3 (AVX2, 97 GF/s a core):
//
//   whole    one call for the product; oneDNN splits it among the threads.
//   tiled    every thread takes a part of c, copies the tiles of a and b that it needs into a small buffer with an
//            odd number of cache lines per row, and multiplies tile by tile.
//
// On AVX2 oneDNN does not pack the factors of small and medium products. Rows whose length is a multiple of 512
// bytes or more then fall into a few sets of the cache: 30 to 80 GF/s a core, by tiles 80 to 99. This only
// affects factors that are read across rows: a and b of x^T dout, b of x W. AVX-512 uses other kernels, and whole
// products run at 90% of the peak or more.
//
// No signal handler may run on these threads: see train/signals.h.
#include <dnnl.h>

#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/onednn_threads.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"

namespace glint {
namespace {

constexpr size_t kTileM = 128, kTileN = 256, kTileK = 192;

// A factor with its row stride.
struct Operand {
  const float* data;
  bool transposed;
  size_t stride;
};

// Part of the product: sizes, and whether it is written or added.
struct Extent {
  size_t M, N, K;
  Write write;
};

dnnl_status_t call_sgemm(const Extent& e, const Operand& a, const Operand& b, float* c, size_t stride) {
  const auto signed_size = [](size_t size) { return static_cast<dnnl_dim_t>(size); };
  return dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', signed_size(e.M), signed_size(e.N),
                    signed_size(e.K), 1.0f, a.data, signed_size(a.stride), b.data, signed_size(b.stride),
                    e.write == Write::add ? 1.0f : 0.0f, c, signed_size(stride));
}

// The smallest tile size that needs as few tiles for n as `most`.
size_t even_tile(size_t n, size_t most, size_t unit) {
  const size_t tiles = (n + most - 1) / most, size = (n + tiles - 1) / tiles;
  return std::min(most, (size + unit - 1) / unit * unit);
}

// The row stride of a tile: an odd number of cache lines, to spread rows over all cache sets.
constexpr size_t tile_stride(size_t columns) { return ((columns + 15) / 16 | 1) * 16; }

constexpr size_t tile_floats(size_t rows, size_t columns) { return rows * tile_stride(columns); }

// rows x columns of a matrix, copied into tile.
Operand copy_tile(float* tile, const Operand& from, size_t row, size_t column, size_t rows, size_t columns) {
  const size_t stride = tile_stride(columns);
  for (size_t r = 0; r < rows; ++r) {
    std::memcpy(tile + r * stride, from.data + (row + r) * from.stride + column, columns * sizeof(float));
  }
  return {tile, from.transposed, stride};
}

// Rows `rows` and columns `columns` of c, by tiles. b is not transposed.
dnnl_status_t multiply_tiles(const Product& p, const Operand& a, const Operand& b, Range rows, Range columns) {
  alignas(64) float tile_a[tile_floats(kTileK, kTileM)];  // (K, M)
  alignas(64) float tile_b[tile_floats(kTileK, kTileN)];  // (K, N)
  const size_t M = rows.end - rows.begin, N = columns.end - columns.begin, K = static_cast<size_t>(p.K);
  const size_t step_m = a.transposed ? even_tile(M, kTileM, 16) : M, step_n = even_tile(N, kTileN, 16);
  const size_t step_k = even_tile(K, kTileK, 8), stride = static_cast<size_t>(p.N);
  dnnl_status_t status = dnnl_success;
  for (size_t n = columns.begin; n < columns.end; n += step_n) {
    for (size_t k = 0; k < K; k += step_k) {
      Extent e{0, std::min(step_n, columns.end - n), std::min(step_k, K - k), k == 0 ? p.write : Write::add};
      const Operand part_b = copy_tile(tile_b, b, k, n, e.K, e.N);
      for (size_t m = rows.begin; m < rows.end; m += step_m) {
        e.M = std::min(step_m, rows.end - m);
        const Operand part_a =
            a.transposed ? copy_tile(tile_a, a, k, m, e.K, e.M) : Operand{a.data + m * a.stride + k, false, a.stride};
        status = std::max(status, call_sgemm(e, part_a, part_b, p.c + m * stride + n, stride));
      }
    }
  }
  return status;
}

dnnl_status_t multiply_tiled(const CpuContext& ctx, const Product& p, const Operand& a, const Operand& b) {
  const size_t M = static_cast<size_t>(p.M), N = static_cast<size_t>(p.N), work = M * N / 16 * static_cast<size_t>(p.K);
  dnnl_status_t status = dnnl_success;
  const auto report = [&](dnnl_status_t part) {
#pragma omp critical(glint_multiply_tiled)
    status = std::max(status, part);
  };
  if (M >= N) {
    parallel_ranges(ctx, M, 16, work, [&](Range rows) { report(multiply_tiles(p, a, b, rows, {0, N})); });
  } else {
    parallel_ranges(ctx, N, 16, work, [&](Range columns) { report(multiply_tiles(p, a, b, {0, M}, columns)); });
  }
  return status;
}

bool tiles_pay(const Product& p) {
  static const bool has_avx512 = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
  if (has_avx512 || p.b.transposed) return false;
  // Below this size oneDNN 2.6 does not copy (its gemm_driver.cpp, nocopy_checker_avx2); above, it packs them itself.
  const bool multiplied_in_place = 1.0 / static_cast<double>(p.M) + 1.0 / static_cast<double>(p.N) >= 0.0038;
  const int64_t worth_copying = 96;  // the uses of a copied element
  return multiplied_in_place && p.M >= worth_copying && (!p.a.transposed || p.N >= worth_copying);
}

}  // namespace

void multiply_onednn(const CpuContext& ctx, const Product& p) {
  const Operand a{p.a.data, p.a.transposed, static_cast<size_t>(p.a.transposed ? p.M : p.K)};
  const Operand b{p.b.data, p.b.transposed, static_cast<size_t>(p.b.transposed ? p.K : p.N)};
  const Extent whole{static_cast<size_t>(p.M), static_cast<size_t>(p.N), static_cast<size_t>(p.K), p.write};
  dnnl_status_t status;
  if (tiles_pay(p)) {
    status = multiply_tiled(ctx, p, a, b);
  } else {
    const ThreadCount threads(ctx.threads);
    status = call_sgemm(whole, a, b, p.c, whole.N);
  }
  GLINT_CHECK(status == dnnl_success, "oneDNN says ", status, " to a product of ", p.M, " x ", p.K, " x ", p.N);
}

}  // namespace glint
