// The wall clock, for reports.
#pragma once

#include <chrono>

namespace glint {

using Clock = std::chrono::steady_clock;
inline double seconds_now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }
inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace glint
