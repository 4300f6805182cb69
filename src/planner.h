// Lays out buffers in one arena: two buffers may share memory where their live ranges do not overlap.
#pragma once

#include <cstddef>
#include <vector>

namespace glint {

// How one step of a schedule uses a buffer.
enum class AccessMode {
  write,  // overwrites all of it
  read,
  update,  // reads and writes
};
struct Access {
  int buffer;
  AccessMode mode;
};

// The steps [first, last] in which a buffer is live; a buffer that is written again later (recomputed) has several.
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

// Sets each offset and returns the arena's size in bytes. Greedy: largest buffer first, at the lowest free offset.
size_t plan_arena(std::vector<PlannedBuffer>& buffers);

}  // namespace glint
