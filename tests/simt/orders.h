// Thread orders to try a kernel in.
#pragma once

#include <doctest/doctest.h>

#include "tests/simt/simt.h"

namespace simt {

// Restores the options at the end of a scope.
struct SavedOptions {
  SavedOptions() = default;
  SavedOptions(const SavedOptions&) = delete;
  SavedOptions& operator=(const SavedOptions&) = delete;
  ~SavedOptions() { options = saved; }
  Options saved = options;
};

inline const char* name_of(Order order) {
  return order == Order::forward ? "forward" : order == Order::reverse ? "reverse" : "random";
}

// check() under forward, reverse and `seeds` random orders.
template <typename Check>
void in_every_order(const Check& check, uint64_t seeds = 3) {
  const SavedOptions saved;
  for (uint64_t turn = 0; turn < 2 + seeds; ++turn) {
    options.order = turn == 0 ? Order::forward : turn == 1 ? Order::reverse : Order::random;
    options.seed = turn;
    INFO("thread order ", name_of(options.order), ", seed ", options.seed);
    check();
  }
}

}  // namespace simt
