// What a training run prints before its first step and at its end.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/model.h"
#include "train/team.h"
#include "train/training_step.h"

namespace glint {

// Model, memory, data and ranks, a line each. batch: sequences per step over all ranks.
std::string describe_run(const Model& model, const TrainingStep& step, const Dataset& data, const Team& team,
                         int batch);

// Settings that are allowed and that rarely do what is meant. checkpoint_bytes: of one checkpoint. Completed options,
// of a run that begins or continues at `step`.
std::vector<std::string> warnings_about(const TrainOptions& options, double checkpoint_bytes, uint64_t step);

// The time that ranks needed for each other; "" for one rank.
std::string describe_exchange(const TrainingStep& step);

}  // namespace glint
