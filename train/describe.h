// The summary that a training run prints before its first step.
#pragma once

#include <string>

#include "data/dataset.h"
#include "models/model.h"
#include "train/team.h"
#include "train/training_step.h"

namespace glint {

// Model, memory, data and ranks, a line each. batch: sequences per step over all ranks.
std::string describe_run(const Model& model, const TrainingStep& step, const Dataset& data, const Team& team,
                         int batch);

}  // namespace glint
