#include "kernels/reduce.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace glint {
namespace {

// Blocks are added up in this many groups at most, then the groups: whatever the thread count, the order is the same,
// and the partial sums fit the stack.
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

bool all_finite(const float* x, size_t n) {
  constexpr uint32_t kExponent = 0x7F800000u;  // all ones in NaN and infinity only
  uint32_t found = 0;
#pragma omp simd reduction(| : found)
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    found |= (bits & kExponent) == kExponent;
  }
  return found == 0;
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
void sum_of_squares(const CpuContext& ctx, double* result, const float* x, size_t n, void*) { *result = sum_of_squares(ctx, x, n); }

size_t first_not_finite(const CpuContext& ctx, const float* x, size_t n) {
  size_t first = n;
  parallel_ranges(ctx, n, kReduceBlock, n / 4, [&](Range range) {
    for (size_t begin = range.begin; begin < range.end; begin += kReduceBlock) {
      const size_t end = std::min(begin + kReduceBlock, range.end);
      if (all_finite(x + begin, end - begin)) continue;
      size_t i = begin;
      while (std::isfinite(x[i])) ++i;
#pragma omp critical(glint_first_not_finite)
      first = std::min(first, i);
      return;
    }
  });
  return first;
}

}  // namespace glint
