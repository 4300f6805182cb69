// One small kernel for each wrapper of kernels/cuda/ptx.cuh, ptx_sm90.cuh and wgmma.cuh, so that what the instruction
// does can be held against what its emulation does: the source is compiled both ways. Every lane reads and writes a few
// words of 32 bits; a case is a group of lanes, most often a warp or a warpgroup.
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
  reciprocal,
  byte_permute,
  keep_up_to,
  keep_floats,
  multiply_wide,
  uniform,
  // Hopper's
  tma_load,
  bulk_copies,
  stmatrix,
  named_barriers,
  release_acquire,
  wgmma_ss_k64,  // both operands K-major, 64 columns
  wgmma_ss_k128,
  wgmma_ss_mn64,
  wgmma_ss_mn128,
  wgmma_rs_mn64,
  wgmma_rs_mn128,
  wgmma_rs_k64,
};
GLINT_HOST_DEVICE constexpr bool is_sm90(Wrapper wrapper) { return wrapper >= Wrapper::tma_load; }

struct LaneWords {
  int in, out;
  int lanes = 32;  // of a group
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
    case Wrapper::reciprocal:
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
    case Wrapper::tma_load:
      return {4, 2, 128};  // TmaWords; the box as it lies in shared memory
    case Wrapper::bulk_copies:
      return {4, 8, 128};  // words; the same words, and those added to themselves in reverse order
    case Wrapper::stmatrix:
      return {8, 4};  // a part of four matrices, the number of the row to name, 3 unused; a row
    case Wrapper::named_barriers:
      return {1, 1, 128};
    case Wrapper::release_acquire:
      return {1, 2, 64};  // a result, and in lane 0 the number that tells of it
    case Wrapper::wgmma_ss_k64:
    case Wrapper::wgmma_ss_mn64:
    case Wrapper::wgmma_rs_mn64:
    case Wrapper::wgmma_rs_k64:
      return {16 + 16, 32, 128};  // a (64 x 64), b (64 x 64), both by rows of k; d
    case Wrapper::wgmma_ss_k128:
    case Wrapper::wgmma_ss_mn128:
    case Wrapper::wgmma_rs_mn128:
      return {16 + 32, 64, 128};  // b (128 x 64)
  }
  return {};
}

// What a group's words of tma_load hold: two of the sequences of a (B, T, heads, HS) array, 1024 bytes apart, and in
// what is left of the first, where in them the box of 64 channels and kRows tokens begins.
struct TmaWords {
  static constexpr int kHS = 48, kHeads = 2, kT = 5, kRows = 8;
  static constexpr int kFirstCoordinate = kHS * kHeads * kT / 2;  // of channel, head, token, sequence
};

constexpr uint32_t kUnwritten = 0xdeadbeef;  // what the words of `out` hold before

// in, out: (groups, lanes, words), in the device's memory.
void run_wrapper(const CudaContext& ctx, Wrapper wrapper, uint32_t* out, const uint32_t* in, int groups);
void run_sm90_wrapper(const CudaContext& ctx, Wrapper wrapper, uint32_t* out, const uint32_t* in, int groups);

}  // namespace glint::test
