// Checkpoints of a run whose ranks hold parts of it: the same files whatever the number of ranks, written and read by
// the rank that leads. All ranks call these together.
#pragma once

#include <optional>

#include "train/checkpoint/checkpoint.h"
#include "train/team.h"
#include "train/training_step.h"

namespace glint {

enum class Saved { weights, all };  // all: with AdamW's moments, to go on from

void save_checkpoint_together(const std::filesystem::path& folder, Saved what, Parameters& parameters,
                              TrainingStep& step, Team& team, const CheckpointState& state);

// Into the parameters and moments of all ranks. Of the state: step, random numbers and best loss. Nothing if there is
// no checkpoint. Other ranks than the one that leads need not see the folder.
std::optional<CheckpointState> load_checkpoint_together(const std::filesystem::path& folder, Parameters& parameters,
                                                        TrainingStep& step, Team& team);

// Of the weights as the model reads them: the same on all ranks.
uint64_t checksum_of(const Parameters& parameters);

}  // namespace glint
