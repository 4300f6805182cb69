#include "src/planner.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "kernels/check.h"

namespace glint {

std::vector<std::vector<LiveRange>> live_ranges(const std::vector<std::vector<Access>>& schedule, size_t buffers) {
  std::vector<std::vector<LiveRange>> ranges(buffers);
  for (int step = 0; step < static_cast<int>(schedule.size()); ++step)
    for (const Access& access : schedule[step]) {
      auto& range = ranges[access.buffer];
      if (access.mode == AccessMode::write) {
        if (range.empty() || range.back().last < step) range.push_back({step, step});
      } else {
        GLINT_CHECK(!range.empty(), "buffer ", access.buffer, " is read at step ", step, " before it was written");
        range.back().last = step;
      }
    }
  return ranges;
}

namespace {

bool overlap(const PlannedBuffer& a, const PlannedBuffer& b) {
  for (const LiveRange& x : a.ranges)
    for (const LiveRange& y : b.ranges)
      if (x.first <= y.last && y.first <= x.last) return true;
  return false;
}

size_t aligned(size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

}  // namespace

size_t plan_arena(std::vector<PlannedBuffer>& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });

  std::vector<const PlannedBuffer*> placed;  // by offset
  size_t arena = 0;
  for (size_t index : order) {
    PlannedBuffer& buffer = buffers[index];
    if (buffer.ranges.empty() || buffer.bytes == 0) continue;
    size_t offset = 0;
    for (const PlannedBuffer* other : placed) {
      if (!overlap(buffer, *other)) continue;
      if (offset + buffer.bytes <= other->offset) break;  // fits in the gap before it
      offset = std::max(offset, aligned(other->offset + other->bytes));
    }
    buffer.offset = offset;
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), &buffer,
                         [](const PlannedBuffer* a, const PlannedBuffer* b) { return a->offset < b->offset; }),
        &buffer);
    arena = std::max(arena, aligned(offset + buffer.bytes));
  }
  return arena;
}

}  // namespace glint
