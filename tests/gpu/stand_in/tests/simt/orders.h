// Stands in for the emulator's tests/simt/orders.h where tests run on a GPU: there the hardware alone chooses which
// thread goes next, so that an order that is asked for is just another run.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>

namespace simt {

enum class Order { forward, reverse, random };

struct Options {  // without effect
  Order order = Order::forward;
  uint64_t seed = 0;
  unsigned workers = 1;
};
inline Options options;

struct SavedOptions {
  ~SavedOptions() {}  // else a variable of it would count as unused
};

// check() as often as the emulator would run it, and a few times more: the timing differs each time.
template <typename Check>
void in_every_order(const Check& check, uint64_t seeds = 3) {
  for (uint64_t turn = 0; turn < 8 + seeds; ++turn) {
    INFO("run ", turn);
    check();
  }
}

}  // namespace simt
