#include "train/report/report.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "train/run_folder.h"

namespace glint {

namespace fs = std::filesystem;

std::vector<RunHistory> read_histories(const std::vector<fs::path>& runs) {
  std::vector<RunHistory> histories;
  const auto short_name = [](const fs::path& path) {
    const fs::path whole = fs::absolute(path).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  };
  for (const fs::path& path : runs) {
    const RunPaths paths = existing_run(path);
    const auto same = [&](const fs::path& other) { return short_name(other) == short_name(path); };
    const bool unique = std::count_if(runs.begin(), runs.end(), same) == 1;
    histories.push_back(
        {unique ? short_name(path) : path.string(), read_run_config(paths), read_metrics(paths.metrics())});
    GLINT_REQUIRE(!histories.back().lines.empty(), path.string(), " has no metrics yet: the run has not started");
  }
  return histories;
}

Series series_of(const RunHistory& run, MetricsValue value, size_t most) {
  Series all;
  for (const MetricsLine& line : run.lines) {
    const MetricsLine::Value& number = line.*value;
    if (!number || !std::isfinite(*number)) continue;
    all.steps.push_back(static_cast<double>(line.step));
    all.values.push_back(*number);
  }
  const size_t each = (all.steps.size() + most - 1) / most;
  if (each <= 1) return all;
  Series means;
  for (size_t first = 0; first < all.steps.size(); first += each) {
    const size_t end = std::min(first + each, all.steps.size());
    double sum = 0;
    for (size_t i = first; i < end; ++i) sum += all.values[i];
    means.steps.push_back(all.steps[end - 1]);
    means.values.push_back(sum / static_cast<double>(end - first));
  }
  return means;
}

}  // namespace glint
