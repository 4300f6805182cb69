// What a report shows of a run: its options, and its metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "train/metrics.h"
#include "train/options.h"

namespace glint {

struct RunHistory {
  std::string name;  // of its folder; its path where another run has the same name
  TrainOptions options;
  std::vector<MetricsLine> lines;
};

// UserError if one is not a run folder, or has written no metrics yet.
std::vector<RunHistory> read_histories(const std::vector<std::filesystem::path>& runs);

// The points of one number of the lines. More than `most` are averaged, each over as many neighbours.
struct Series {
  std::vector<double> steps, values;
};
using MetricsValue = MetricsLine::Value MetricsLine::*;
Series series_of(const RunHistory& run, MetricsValue value, size_t most = 1000);

}  // namespace glint
