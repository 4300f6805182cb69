// The mask that an attention kernel applies, seen from outside.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "train/options.h"

namespace glint {

enum class MaskSource { definition, cpu, cuda };

struct MaskFlags {
  float p = 0.1f;
  uint64_t seed = 0, offset = 0, batch_index = 0;
  int64_t heads = 1, head = 0, rows = 64, cols = 64;
  MaskSource source = MaskSource::definition;
  DtypeChoice dtype = DtypeChoice::fp32;
  std::string out;

  uint64_t sequence_head() const { return batch_index * static_cast<uint64_t>(heads) + static_cast<uint64_t>(head); }
};

// Runs the forward kernel of flags.source and calls kept(i, j) for each element of the rows x cols mask that it keeps.
// All scores are zero, so that every weight is the same, and V is an identity matrix, a block of columns at a time: O
// is then the dropped P itself, and an element that was kept is one that isn't zero.
void draw_by_kernel(const MaskFlags& flags, const std::function<void(int64_t i, int64_t j)>& kept);

}  // namespace glint
