// The tokens of a run: tokenised once into the run folder, or a prepared folder, listed in data.json with its
// checksum.
#pragma once

#include "data/dataset.h"
#include "train/run_folder.h"

namespace glint {

// For a new run: tokenises options.data (empty: the built-in corpus) into the run folder, or opens it if it is a
// prepared folder. Writes tokenizer.json and data.json (where the tokens are, and their checksum) into the run folder.
Dataset create_run_data(const RunPaths& run, const TrainOptions& options);

// For an existing run. UserError if the tokens are missing or have changed.
Dataset open_run_data(const RunPaths& run);

// For a resumed run whose data are said to be at options.data now. UserError unless they give the same tokens.
void adopt_run_data(const RunPaths& run, const TrainOptions& options);

}  // namespace glint
