// A loop over all threads whose steps may throw.
#pragma once

#include <omp.h>

#include <cstddef>
#include <exception>
#include <mutex>

namespace glint {

// step(i) for 0 <= i < count, in any order. Throws what the first of them has thrown, after all others have ended.
template <typename Step>
void parallel_for(size_t count, const Step& step) {
  std::exception_ptr failure;
  size_t failed = count;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic) if (count > 1)
  for (size_t i = 0; i < count; ++i) {
    try {
      step(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (i < failed) failed = i, failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace glint
