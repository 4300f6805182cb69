#include "src/measure/op_times.h"

#include <algorithm>

namespace glint {

std::vector<OpTime> op_times(const Profile& profile, double steps, double peak_gflops, double bandwidth_gbytes) {
  double total = 0;
  for (const auto& [name, stats] : profile) total += stats.seconds;
  std::vector<OpTime> rows;
  for (const auto& [name, stats] : profile) {
    const double seconds = std::max(stats.seconds, 1e-12), ms = 1000 * seconds / steps;
    const double gflops = 1e-9 * stats.flops / seconds, gbytes = 1e-9 * stats.bytes / seconds;
    const double of_peak = std::max(gflops / peak_gflops, gbytes / bandwidth_gbytes);
    rows.push_back({name, ms, stats.seconds / total, gflops, gbytes, of_peak, of_peak * ms});
  }
  std::sort(rows.begin(), rows.end(), [](const OpTime& a, const OpTime& b) { return a.ms > b.ms; });
  return rows;
}

}  // namespace glint
