// Options of the emulated device for tests of CUDA code: thread orders, `late` and `guarded`. On a GPU the hardware
// decides, and they have no effect.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>

#ifdef GLINT_SIMT
#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"
#else
namespace simt {
enum class Order { forward, reverse, random };
struct Options {
  Order order = Order::forward;
  uint64_t seed = 0;
  unsigned workers = 1;
};
inline Options options;
struct DeviceOptions {
  bool late = false, guarded = false;
  uint64_t seed = 0;
  int capability = 0;
};
inline DeviceOptions device;
}  // namespace simt
#endif

namespace simt {

// Restores the options at the end of a scope.
struct SavedOptions {
  SavedOptions() = default;
  SavedOptions(const SavedOptions&) = delete;
  SavedOptions& operator=(const SavedOptions&) = delete;
  ~SavedOptions() { options = saved; }
  Options saved = options;
};

struct SavedDevice {
  SavedDevice() = default;
  SavedDevice(const SavedDevice&) = delete;
  SavedDevice& operator=(const SavedDevice&) = delete;
  ~SavedDevice() { device = saved; }
  DeviceOptions saved = device;
};

inline const char* name_of(Order order) {
  return order == Order::forward ? "forward" : order == Order::reverse ? "reverse" : "random";
}

// check() under forward, reverse and `seeds` random thread orders; on a GPU as often, and a few times more.
template <typename Check>
void in_every_order(const Check& check, uint64_t seeds = 3) {
#ifdef GLINT_SIMT
  constexpr uint64_t kFixed = 2;
#else
  constexpr uint64_t kFixed = 8;
#endif
  const SavedOptions saved;
  for (uint64_t turn = 0; turn < kFixed + seeds; ++turn) {
    options.order = turn == 0 ? Order::forward : turn == 1 ? Order::reverse : Order::random;
    options.seed = turn;
    INFO("thread order ", name_of(options.order), ", seed ", options.seed);
    check();
  }
}

}  // namespace simt
