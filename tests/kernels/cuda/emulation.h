// Options of the emulated device for tests of CUDA code: thread orders, `late` and `guarded`. On a GPU the hardware
// decides, and they have no effect.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <type_traits>

#ifdef GLINT_SIMT
#include <set>
#include <string>

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
template <auto& kOptions>
struct Saved {
  Saved() = default;
  Saved(const Saved&) = delete;
  Saved& operator=(const Saved&) = delete;
  ~Saved() { kOptions = saved; }
  std::remove_reference_t<decltype(kOptions)> saved = kOptions;
};
using SavedOptions = Saved<options>;
using SavedDevice = Saved<device>;

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

#ifdef GLINT_SIMT
// The mbarriers at which threads may arrive before the wgmma wait ahead of it, and in no order does wrong(), which runs
// the program, notice: it returns false, and no error is thrown. Empty is good.
template <typename Wrong>
std::set<std::string> unnoticed_early_releases(const Wrong& wrong, uint64_t seeds = 3) {
  std::set<std::string> sites;
  bool first = true;
  in_every_order(
      [&] {
        options.note_releases = true;
        options.launch = 0;
        REQUIRE_FALSE(wrong());
        options.note_releases = false;
        if (first) sites = release_sites();
        REQUIRE_FALSE(release_sites().empty());
        first = false;
        options.fault = Fault::early_release;
        std::erase_if(sites, [&](const std::string& site) {
          options.fault_site = site;
          options.launch = 0;
          try {
            return wrong();
          } catch (const Error&) {
            return true;
          }
        });
        options.fault = Fault::none;
      },
      seeds);
  return sites;
}
#endif

}  // namespace simt
