// The algorithms of matrix products on a GPU: measured before the first step, and kept in a file, so that a run that is
// resumed computes the same bits. On a CPU nothing happens.
#pragma once

#include <filesystem>
#include <string>

#include "train/team.h"
#include "train/training_step.h"

namespace glint {

struct Tuned {
  std::string note, warning;  // lines to print; may be empty
};
// Before the first step. Rank 0 takes the choices in `file` if they are of its GPU and library, measures the products
// of a step that are not among them, and writes the file; all ranks then use its choices. An empty `file`: none.
Tuned tune_products(TrainingStep& step, const FillBatch& fill, const Device& device, Team& team,
                    const std::filesystem::path& file);

// The choices of a run, where they are of this device.
void use_tuned_products(const Device& device, const std::filesystem::path& file);

}  // namespace glint
