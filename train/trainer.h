// The training loop: steps, evaluations, checkpoints, until the last step or a signal.
#pragma once

#include "train/options.h"
#include "train/run_folder.h"
#include "train/team.h"

namespace glint {

// Starts a run in an empty folder, or goes on from RUN/last (from step 0 if a kill came before the first checkpoint).
// Returns 0, or the SIGINT or SIGTERM that stopped it, once the step is finished and saved; UserError on a loss that
// isn't finite. Of several ranks, the one that leads has the folder, the others follow it.
int start_training(TrainOptions options, RunFolder& folder, Team& team);
int resume_training(const TrainOptions& options, RunFolder& folder, Team& team);

}  // namespace glint
