// Small kernels for Hopper's instructions (kernels/cuda/ptx_sm90.cuh, wgmma.cuh) in the forms that the attention
// kernels use, so that what the hardware does can be held against what the emulation does. A block is one warpgroup and
// has words of 32 bits of its own.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace glint::test {

// ss, rs: A in shared memory or in registers. mn: MN-major, A and B where both are in shared memory. The number is N.
enum class HopperProbe {
  ss_64,
  ss_128,
  ss_mn_64,
  ss_mn_128,
  rs_64,
  rs_128,
  rs_mn_64,
  rs_mn_128,
  tma_load,
  bulk_copies,
  stmatrix
};

// What tma_load reads: one box of 64 channels x 64 tokens of head 1, from token kFirstToken on.
struct ProbeArray {
  static constexpr int kTokens = 40, kHeads = 2, kChannels = 48, kFirstToken = 8;
  static constexpr int kWords = kTokens * kHeads * kChannels / 2;
};

struct BlockWords {
  int in, out;
};
constexpr BlockWords words_of(HopperProbe probe) {
  switch (probe) {
    case HopperProbe::ss_64:
    case HopperProbe::ss_mn_64:
    case HopperProbe::rs_64:
    case HopperProbe::rs_mn_64:
      return {(64 + 64) * 32, 64 * 64};  // A (64, 64) and B (N, 64), bf16, two in a word; A B^T in fp32
    case HopperProbe::ss_128:
    case HopperProbe::ss_mn_128:
    case HopperProbe::rs_128:
    case HopperProbe::rs_mn_128:
      return {(64 + 128) * 32, 64 * 128};
    case HopperProbe::tma_load:
      return {ProbeArray::kWords, 64 * 32};  // shared memory as the copy left it
    case HopperProbe::bulk_copies:
      return {1024, 1024};  // floats: the first half stored, the second added twice to 1; each doubled
    case HopperProbe::stmatrix:
      return {128 * 5, 128 * 4};  // four matrices a warp and a number to shuffle the rows by; the rows
  }
  return {};
}

// in, out: (blocks, words), in the device's memory.
void run_probe(const CudaContext& ctx, HopperProbe probe, uint32_t* out, const uint32_t* in, int blocks);

}  // namespace glint::test
