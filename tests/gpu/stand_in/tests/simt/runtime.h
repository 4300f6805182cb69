// Stands in for the emulator's tests/simt/runtime.h where tests run on a GPU: what the emulated device takes from its
// options (late, guarded, the order of streams), hardware does or does not.
#pragma once

#include <cstdint>

namespace simt {

struct DeviceOptions {  // without effect
  bool late = false, guarded = false;
  uint64_t seed = 0;
};
inline DeviceOptions device;

}  // namespace simt
