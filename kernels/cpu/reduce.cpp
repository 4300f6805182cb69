#include "kernels/reduce.h"

#include <bit>
#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace glint {
namespace {

// Maximum number of groups: blocks are added within groups, then the groups. The order does not depend on the thread
// count, and the partial sums fit on the stack.
constexpr size_t kGroups = 1024;

size_t blocks_of(size_t n) { return (n + kReduceBlock - 1) / kReduceBlock; }

// Sum of op(x[i]) in double over one block.
template <typename Op>
double sum_block(const float* x, size_t n, const Op& op) {
  typedef double Doubles __attribute__((vector_size(4 * simd::kWidth)));
  typedef float Halves __attribute__((vector_size(2 * simd::kWidth)));
  constexpr size_t kLanes = simd::kWidth / 2, kStep = 4 * kLanes;
  Doubles total[4] = {};
  size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (size_t k = 0; k < 4; ++k) {
      total[k] += op(__builtin_convertvector(simd::load<Halves>(x + i + k * kLanes), Doubles));
    }
  }
  double rest = 0.0;
  for (; i < n; ++i) rest += op(static_cast<double>(x[i]));
  const Doubles lanes = (total[0] + total[1]) + (total[2] + total[3]);
  for (size_t lane = 0; lane < kLanes; ++lane) rest += lanes[lane];
  return rest;
}

template <typename Op>
double sum_blocks(const CpuContext& ctx, const float* x, size_t n, const Op& op) {
  const size_t blocks = blocks_of(n), groups = std::min(blocks, kGroups);
  double partial[kGroups];
  parallel_ranges(ctx, groups, 1, n / 4, [&](Range range) {
    for (size_t group = range.begin; group < range.end; ++group) {
      double total = 0.0;
      for (size_t block = group * blocks / groups; block < (group + 1) * blocks / groups; ++block) {
        const size_t first = block * kReduceBlock;
        total += sum_block(x + first, std::min(kReduceBlock, n - first), op);
      }
      partial[group] = total;
    }
  });
  double total = 0.0;
  for (size_t group = 0; group < groups; ++group) total += partial[group];
  return total;
}

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
uint32_t bits_of(Bf16 value) { return uint32_t{value.bits} << 16; }

constexpr uint32_t kExponent = 0x7F800000u;  // all ones in NaN and infinity only

template <typename Scalar>
bool all_finite(const Scalar* x, size_t n) {
  uint32_t found = 0;
#pragma omp simd reduction(| : found)
  for (size_t i = 0; i < n; ++i) found |= (bits_of(x[i]) & kExponent) == kExponent;
  return found == 0;
}

// sums (n) = or += column sums of x (rows, n), in double: the batch may be long.
template <typename Scalar>
void sum_columns(float* sums, const Scalar* x, size_t rows, size_t n, Range columns, Write write) {
  constexpr size_t kTile = 256;
  for (size_t first = columns.begin; first < columns.end; first += kTile) {
    const size_t width = std::min(kTile, columns.end - first);
    double total[kTile] = {};
    const Scalar* row = x + first;
    size_t r = 0;
    for (; r + 2 <= rows; r += 2, row += 2 * n) {
#pragma omp simd
      for (size_t c = 0; c < width; ++c) {
        total[c] += static_cast<double>(to_float(row[c])) + static_cast<double>(to_float(row[n + c]));
      }
    }
    for (size_t c = 0; c < width; ++c) {
      if (r < rows) total[c] += static_cast<double>(to_float(row[c]));
      if (write == Write::add) total[c] += static_cast<double>(sums[first + c]);
      sums[first + c] = static_cast<float>(total[c]);
    }
  }
}

}  // namespace

double sum(const CpuContext& ctx, const float* x, size_t n) {
  return sum_blocks(ctx, x, n, [](auto value) { return value; });
}

double sum_of_squares(const CpuContext& ctx, const float* x, size_t n) {
  return sum_blocks(ctx, x, n, [](auto value) { return value * value; });
}

size_t reduce_scratch(const CpuContext&, size_t) { return 0; }
void sum(const CpuContext& ctx, double* result, const float* x, size_t n, void*) { *result = sum(ctx, x, n); }
void sum_of_squares(const CpuContext& ctx, double* result, const float* x, size_t n, void*) {
  *result = sum_of_squares(ctx, x, n);
}

void sum(const CpuContext&, double* result, const double* x, size_t n) {
  double total = 0.0;
  for (size_t i = 0; i < n; ++i) total += x[i];
  *result = total;
}

template <typename Scalar>
size_t first_not_finite(const CpuContext& ctx, const Scalar* x, size_t n) {
  size_t first = n;
  parallel_ranges(ctx, n, kReduceBlock, n / 4, [&](Range range) {
    for (size_t begin = range.begin; begin < range.end; begin += kReduceBlock) {
      const size_t end = std::min(begin + kReduceBlock, range.end);
      if (all_finite(x + begin, end - begin)) continue;
      size_t i = begin;
      while ((bits_of(x[i]) & kExponent) != kExponent) ++i;
#pragma omp critical(glint_first_not_finite)
      first = std::min(first, i);
      return;
    }
  });
  return first;
}

size_t column_sums_scratch(const CpuContext&, int, int) { return 0; }

template <typename Scalar>
void column_sums(const CpuContext& ctx, float* sums, const Scalar* x, int rows, int columns, float*, Write write) {
  const size_t n = static_cast<size_t>(columns), count = static_cast<size_t>(rows);
  parallel_ranges(ctx, n, 16, count * n / 4, [=](Range range) { sum_columns(sums, x, count, n, range, write); });
}

template size_t first_not_finite(const CpuContext&, const float*, size_t);
template size_t first_not_finite(const CpuContext&, const Bf16*, size_t);
template void column_sums(const CpuContext&, float*, const float*, int, int, float*, Write);
template void column_sums(const CpuContext&, float*, const Bf16*, int, int, float*, Write);

}  // namespace glint
