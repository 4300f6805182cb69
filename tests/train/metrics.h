// The losses that a run has written.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

namespace glint::test {

// Losses of every report in a run's folder, of training and validation, or of one of them.
inline std::vector<double> losses_of(const std::string& folder,
                                     const std::vector<std::string>& keys = {"loss", "val_loss"}) {
  std::vector<double> losses;
  std::istringstream lines(read_file(folder + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line) && !lines.eof();) {  // a line without its end is being written
    const auto json = nlohmann::json::parse(line);
    for (const std::string& key : keys)
      if (json.contains(key)) losses.push_back(json[key].get<double>());
  }
  return losses;
}

}  // namespace glint::test
