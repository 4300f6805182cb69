// Where a loss or gradient that is no finite number came from.
#pragma once

#include <string>

#include "train/team.h"
#include "train/training_step.h"

namespace glint {

// The first tensor that was not finite in the last step, "h.3.mlp.out on rank 2" of several ranks: those look for it
// together.
inline std::string first_not_finite(TrainingStep& step, const FillBatch& fill, Team& team) {
  const std::string here = step.first_not_finite(fill);
  if (team.size() == 1) return here;
  const std::string found = team.first_text(here == kSumOfGradients ? "" : str_cat(here, " on rank ", team.rank()));
  return found.empty() ? here : found;
}

}  // namespace glint
