// The tokens of a run: tokenised once into the run folder, or a prepared folder, listed in data.json with its
// checksum.
#pragma once

#include "data/dataset.h"
#include "train/run_folder.h"
#include "train/team.h"

namespace glint {

// For a new run: tokenises options.data (empty: the built-in corpus) into the run folder, or opens it if it is a
// prepared folder. Writes tokenizer.json and data.json (where the tokens are, and their checksum) into the run folder.
Dataset create_run_data(const RunPaths& run, const TrainOptions& options);

// For an existing run. UserError if the tokens are missing or have changed.
Dataset open_run_data(const RunPaths& run);

// For a run of several ranks: rank 0 creates or opens its data; on machines that do not share its folder, the first
// rank of each does.
Dataset team_data(const RunPaths& run, const TrainOptions& options, Team& team);

// For a resumed run whose data are said to be at options.data now. UserError unless they give the same tokens.
void adopt_run_data(const RunPaths& run, const TrainOptions& options);

}  // namespace glint
