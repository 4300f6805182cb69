// The training loop: steps, evaluations and checkpoints, until the last step or a signal.
#pragma once

#include "train/checkpoint/checkpoint.h"
#include "train/options.h"
#include "train/run_folder.h"
#include "train/team.h"

namespace glint {

// Starts a run in an empty folder, or continues from RUN/last (from step 0 if there is no checkpoint yet). Returns 0,
// or the SIGINT, SIGTERM or SIGHUP that stopped it, after finishing and saving the step; throws UserError if the loss
// is not finite. Rank 0 owns the folder.
int start_training(TrainOptions options, RunFolder& folder, Team& team, Changed changed);
int resume_training(const TrainOptions& options, RunFolder& folder, Team& team, Changed changed);

}  // namespace glint
