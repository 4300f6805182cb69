// The mask that an attention kernel applies, measured from its output.
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
  AttentionKind attention = AttentionKind::flash;  // of the kernels of a GPU
  std::string out;

  uint64_t sequence_head() const { return batch_index * static_cast<uint64_t>(heads) + static_cast<uint64_t>(head); }
};

// Runs the forward kernel of flags.source and calls kept(i, j) for each element of the rows x cols mask that it keeps.
// All scores are zero, so all weights are equal, and V is an identity matrix, one block of columns at a time. The
// output is then P after dropout, and its nonzero elements are the kept ones.
void draw_by_kernel(const MaskFlags& flags, const std::function<void(int64_t i, int64_t j)>& kept);

}  // namespace glint
