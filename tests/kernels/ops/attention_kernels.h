// Which attention kernels a test runs.
#pragma once

#include <doctest/doctest.h>

#include "kernels/attention.h"
#include "tests/kernels/backend.h"

namespace glint::test {

// The kernels under test; a test case that has one runs once for each. On a CUDA device: those of sm_80, then Hopper's
// where it has them (the emulated device does).
#ifdef GLINT_TEST_CUDA
class AttentionKernels {
 public:
  AttentionKernels() {
    SUBCASE("mma.sync") { ctx_.attention = CudaAttention::sm80; }
    SUBCASE("wgmma") { use_hopper(); }
  }
  const Context& context() const { return ctx_; }
  bool has_fp32() const { return !uses_hopper_attention(ctx_); }  // once is enough

 private:
  void use_hopper() {
#ifdef GLINT_SIMT
    simt::device.capability = kHopper;
#endif
    if (!uses_hopper_attention(ctx_)) MESSAGE("this GPU or build has no wgmma kernels: those of sm_80 again");
  }

  simt::SavedDevice saved_;
  Context ctx_;
};
#else
struct AttentionKernels {
  const Context& context() const { return ctx; }
  bool has_fp32() const { return true; }
  Context ctx;
};
#endif

}  // namespace glint::test
