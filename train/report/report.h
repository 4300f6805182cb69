// Reports of runs: what they show of each (its options, its metrics.jsonl), and as what.
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

// Losses of training (pale) and validation of all runs: a picture of its own, as SVG. UserError if there are none yet.
std::string loss_picture(const std::vector<RunHistory>& runs);
// <figure> elements, each with its picture on a linear and on a logarithmic axis, and its data for the tooltips.
std::string figures(const std::vector<RunHistory>& runs);
// One HTML page that needs no network: curves, settings side by side, samples, dropout sites and the machine.
std::string report_page(const std::vector<RunHistory>& runs);

}  // namespace glint
