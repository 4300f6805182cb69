// Medians of repeated measurements.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "src/device.h"

namespace glint {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

// Calls to time together, where one takes so many seconds: a GPU may finish a short one before the next is enqueued.
inline int calls_at_a_time(const CpuContext&, double) { return 1; }
inline int calls_at_a_time(const CudaContext&, double seconds) {
  return static_cast<int>(std::clamp(3e-3 / seconds, 1.0, 100.0));
}

// Median milliseconds of `repeats` calls after one warm-up, on the clock of the context that they run on.
template <typename Context, typename Call>
double median_ms(const Context& ctx, int repeats, Call call) {
  std::vector<double> times;
  call();
  for (int i = 0; i < repeats; ++i) times.push_back(1000 * measure_seconds(ctx, call));
  return median(std::move(times));
}

}  // namespace glint
