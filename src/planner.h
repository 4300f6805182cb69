// Lays out buffers in one arena: two buffers may share memory where their live ranges do not overlap.
#pragma once

#include <cstddef>
#include <vector>

namespace glint {

// What one step of a schedule does to a buffer.
enum class AccessMode {
  write,  // all of it, whatever was there
  read,
  update,  // reads and writes: what was there matters
};
struct Access {
  int buffer;
  AccessMode mode;
};

// A buffer lives in [first, last] steps; one that is written again later (recomputed) lives several times.
struct LiveRange {
  int first, last;
};
struct PlannedBuffer {
  size_t bytes = 0;
  std::vector<LiveRange> ranges;
  size_t offset = 0;  // planned
};

inline constexpr size_t kArenaAlignment = 64;

// schedule[s] lists the accesses of step s. Throws Error if a buffer is read before it was written.
std::vector<std::vector<LiveRange>> live_ranges(const std::vector<std::vector<Access>>& schedule, size_t buffers);

// Sets each offset and returns the arena's size in bytes. Greedy, largest buffer first, at the lowest free place.
size_t plan_arena(std::vector<PlannedBuffer>& buffers);

}  // namespace glint
