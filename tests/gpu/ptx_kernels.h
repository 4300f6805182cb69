// One small kernel for each wrapper of kernels/cuda/ptx.cuh, so that what the instruction does can be held against what
// its emulation does: the source is compiled both ways. Every lane of a warp reads and writes a few words of 32 bits.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "kernels/philox.h"  // GLINT_HOST_DEVICE

namespace glint::test {

enum class Wrapper {
  cp_async,
  ldmatrix,
  ldmatrix_transposed,
  mma,
  pack_bf16,
  exp2,
  byte_permute,
  keep_up_to,
  keep_floats,
  multiply_wide,
  uniform
};

struct LaneWords {
  int in, out;
};
GLINT_HOST_DEVICE constexpr LaneWords words_of(Wrapper wrapper) {
  switch (wrapper) {
    case Wrapper::cp_async:
      return {12, 8};  // two copies of 4 words, whether each is valid, 2 unused; both
    case Wrapper::ldmatrix:
    case Wrapper::ldmatrix_transposed:
      return {8, 4};  // a row of 8 elements, the number of the row to name, 3 unused
    case Wrapper::mma:
      return {10, 4};  // a, b, d; d
    case Wrapper::pack_bf16:
      return {2, 1};
    case Wrapper::exp2:
      return {1, 1};
    case Wrapper::byte_permute:
      return {3, 1};  // bytes, selector, more bytes
    case Wrapper::keep_up_to:
      return {3, 1};  // a pair, their values and limits
    case Wrapper::keep_floats:
      return {4, 2};  // two floats, their values and limits
    case Wrapper::multiply_wide:
      return {2, 2};
    case Wrapper::uniform:
      return {1, 2};  // by either wrapper
  }
  return {};
}

// in, out: (warps, 32 lanes, words), in the device's memory.
void run_wrapper(const CudaContext& ctx, Wrapper wrapper, uint32_t* out, const uint32_t* in, int warps);

}  // namespace glint::test
