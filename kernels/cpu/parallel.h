// How kernels split work among threads: contiguous ranges in thread order, which depend only on the sizes and the
// thread count.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstddef>

#include "kernels/context.h"

namespace glint {

struct Range {
  size_t begin, end;
};

// Part `part` of `parts` of [0, n), cut at multiples of `unit`.
inline Range part_of(size_t n, size_t unit, int part, int parts) {
  const size_t units = (n + unit - 1) / unit;
  const auto cut = [&](int at) {
    return std::min(n, units * static_cast<size_t>(at) / static_cast<size_t>(parts) * unit);
  };
  return {cut(part), cut(part + 1)};
}

// The number of threads to use for `work` elements of about a nanosecond each: a parallel region costs microseconds.
inline int threads_for(const CpuContext& ctx, size_t work) {
  constexpr size_t kWorthOneThread = 4096;
  return static_cast<int>(std::clamp<size_t>(work / kWorthOneThread, 1, static_cast<size_t>(std::max(ctx.threads, 1))));
}

// f(range) on the parts of [0, n), one per thread; `work`: total elements, see threads_for().
template <typename Body>
void parallel_ranges(const CpuContext& ctx, size_t n, size_t unit, size_t work, const Body& f) {
  const int threads = threads_for(ctx, work);
  if (threads == 1) {
    f(Range{0, n});
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const Range range = part_of(n, unit, omp_get_thread_num(), omp_get_num_threads());
    if (range.begin < range.end) f(range);
  }
}

}  // namespace glint
