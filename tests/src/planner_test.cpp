#include "src/planner.h"

#include <doctest/doctest.h>

#include "kernels/check.h"
#include "tests/random.h"

using namespace glint;

TEST_CASE("live ranges: from a write to the last read before the next write") {
  const auto ranges = live_ranges({{{0, AccessMode::write}},
                                   {{0, AccessMode::read}, {1, AccessMode::write}},
                                   {{1, AccessMode::update}},
                                   {{0, AccessMode::write}},
                                   {{0, AccessMode::read}, {1, AccessMode::read}}},
                                  2);
  REQUIRE(ranges[0].size() == 2);
  CHECK(ranges[0][0].first == 0);
  CHECK(ranges[0][0].last == 1);
  CHECK(ranges[0][1].first == 3);
  CHECK(ranges[0][1].last == 4);
  REQUIRE(ranges[1].size() == 1);
  CHECK(ranges[1][0].first == 1);
  CHECK(ranges[1][0].last == 4);
}

TEST_CASE("live ranges: a read before the first write is an error") {
  CHECK_THROWS_AS(live_ranges({{{0, AccessMode::read}}}, 1), Error);
  CHECK_THROWS_AS(live_ranges({{{0, AccessMode::update}}}, 1), Error);
}

TEST_CASE("arena: buffers with disjoint live ranges share memory") {
  std::vector<PlannedBuffer> buffers = {{1000, {{0, 1}}}, {1000, {{2, 3}}}, {500, {{1, 2}}}};
  CHECK(plan_arena(buffers) == 1024 + 512);
  CHECK(buffers[0].offset == 0);
  CHECK(buffers[1].offset == 0);
  CHECK(buffers[2].offset == 1024);
}

TEST_CASE("arena: a buffer fits between two live ranges of another one") {
  std::vector<PlannedBuffer> buffers = {{1024, {{0, 1}, {6, 7}}}, {1024, {{3, 4}}}};
  CHECK(plan_arena(buffers) == 1024);
}

TEST_CASE("arena: buffers with overlapping live ranges never overlap in memory (random)") {
  test::RandomInputs inputs(42);
  INFO("seed ", inputs.seed);
  for (int round = 0; round < 50; ++round) {
    std::vector<PlannedBuffer> buffers(static_cast<size_t>(1 + inputs.below(60)));
    size_t sum = 0, largest = 0;
    for (PlannedBuffer& buffer : buffers) {
      buffer.bytes = static_cast<size_t>(1 + inputs.below(5000));
      const int first = inputs.below(40), last = first + inputs.below(10);
      buffer.ranges.push_back({first, last});
      if (inputs.below(3) == 0) buffer.ranges.push_back({last + 2 + inputs.below(5), last + 8 + inputs.below(5)});
      sum += buffer.bytes + kArenaAlignment;
      largest = std::max(largest, buffer.bytes);
    }
    const size_t arena = plan_arena(buffers);
    CHECK(arena >= largest);
    CHECK(arena <= sum);
    for (size_t i = 0; i < buffers.size(); ++i) {
      CHECK(buffers[i].offset % kArenaAlignment == 0);
      CHECK(buffers[i].offset + buffers[i].bytes <= arena);
      for (size_t j = 0; j < i; ++j)
        for (const LiveRange& a : buffers[i].ranges)
          for (const LiveRange& b : buffers[j].ranges) {
            const bool in_time = a.first <= b.last && b.first <= a.last;
            const bool in_memory = buffers[i].offset < buffers[j].offset + buffers[j].bytes &&
                                   buffers[j].offset < buffers[i].offset + buffers[i].bytes;
            CHECK_FALSE((in_time && in_memory));
          }
    }
  }
}
