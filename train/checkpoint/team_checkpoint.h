// Checkpoints of a run with sharded state: the same files for any number of ranks, written and read by rank 0. All
// ranks call these functions.
#pragma once

#include <optional>

#include "train/checkpoint/checkpoint.h"
#include "train/team.h"
#include "train/training_step.h"

namespace glint {

enum class Saved { weights, all };  // all: with the optimizer's moments, to resume from

void save_checkpoint_together(const std::filesystem::path& folder, Saved what, Parameters& parameters,
                              TrainingStep& step, Team& team, const CheckpointState& state);

// Loads the parameters and moments of all ranks. Returns the state (step, RNG, best loss), or nullopt if there is
// no checkpoint. Only rank 0 reads the folder.
std::optional<CheckpointState> load_checkpoint_together(const std::filesystem::path& folder, Parameters& parameters,
                                                        TrainingStep& step, Team& team, Changed changed);

// Checksum of the weights that the model reads, which are the same on all ranks.
uint64_t checksum_of(const Parameters& parameters);

}  // namespace glint
