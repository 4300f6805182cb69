// Finds where a loss or gradient that is not finite came from.
#pragma once

#include <string>

#include "train/team.h"
#include "train/training_step.h"

namespace glint {

// The first tensor that was not finite in the last step, with its rank if there are several (all of them call this):
// "h.3.mlp.out on rank 2".
inline std::string find_nonfinite(TrainingStep& step, const FillBatch& fill, Team& team) {
  const std::string here = step.find_nonfinite(fill);
  if (team.size() == 1) return here;
  const std::string found = team.first_text(here == kSumOfGradients ? "" : str_cat(here, " on rank ", team.rank()));
  return found.empty() ? here : found;
}

}  // namespace glint
