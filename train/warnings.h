// What a run is told before its first step: settings that are allowed and that rarely do what is meant.
#pragma once

#include <string>
#include <vector>

#include "train/options.h"

namespace glint {

// checkpoint_bytes: of one checkpoint. Completed options, of a run that begins or continues at `step`.
std::vector<std::string> warnings_about(const TrainOptions& options, double checkpoint_bytes, uint64_t step);

}  // namespace glint
