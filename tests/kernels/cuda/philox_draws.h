// Kernels that draw the attention mask as the attention kernels do (kernels/cuda/attention/philox.cuh).
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "kernels/dropout.h"

namespace glint::test {

// Blocks of the mask of one head, from block (row, column).
struct DrawCase {
  RngState rng;
  int b, NH, h;
  uint32_t row, column;
};

constexpr int kDrawsOfCase = 6;

// One warp a case. out: (cases, kDrawsOfCase, 32 lanes) of draws. site: of all cases, without an RNG state.
// The blocks (row, column + k), k < kDrawsOfCase.
void draw_along_row(const CudaContext& ctx, PhiloxCounter* out, const DrawCase* cases, int n, Dropout site);
// The blocks (row + k / 2, column + k % 2).
void draw_along_columns(const CudaContext& ctx, PhiloxCounter* out, const DrawCase* cases, int n, Dropout site);

}  // namespace glint::test
