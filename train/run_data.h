// The tokens of a run: tokenised once into the run folder, or a prepared folder that the run remembers by checksum.
#pragma once

#include "data/dataset.h"
#include "train/run_folder.h"

namespace glint {

// For a new run: tokenises options.data (empty: the built-in corpus) into the run folder, or opens it if it is a
// prepared folder. Leaves tokenizer.json and data.json (where the tokens are, and their checksum) in the run folder.
Dataset create_run_data(const RunPaths& run, const TrainOptions& options);

// For a run that exists. UserError if the tokens are gone or not those it was started with.
Dataset open_run_data(const RunPaths& run);

}  // namespace glint
