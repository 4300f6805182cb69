// The mask that an attention kernel applies, measured from its output.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/dropout.h"
#include "src/device.h"
#include "src/ops.h"

namespace glint {

struct AttentionMask {
  int64_t rows = 0, cols = 0;  // queries, keys
  float p = 0;                 // drop probability
  RngState rng{};              // first_sequence: the index of the head among those of all sequences
};

// Runs the forward kernel of a device in `dtype` and calls kept(i, j) for each element of the mask that it keeps. All
// scores are zero, so all weights are equal, and V is an identity matrix, one block of columns at a time. The output is
// then P after dropout, and its nonzero elements are the kept ones.
void draw_by_kernel(const Device& device, DType dtype, AttentionKind kind, const AttentionMask& mask,
                    const std::function<void(int64_t i, int64_t j)>& kept);

}  // namespace glint
