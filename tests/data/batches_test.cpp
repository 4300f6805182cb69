#include "data/batches.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/check.h"

using namespace glint;

namespace {

// Token i is i, so that windows show their offset.
std::vector<uint32_t> counting(size_t n) {
  std::vector<uint32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 0u);
  return tokens;
}

struct Batch {
  std::vector<int32_t> inputs, targets;  // (B, T)
  Batch(int B, int T) : inputs(static_cast<size_t>(B * T), -1), targets(inputs) {}
  friend bool operator==(const Batch&, const Batch&) = default;
};

}  // namespace

TEST_CASE("a window is T adjacent tokens, its targets are the same shifted by one") {
  const auto tokens = counting(1000);
  const RandomWindows windows({tokens.data(), tokens.size(), 4}, 7, 42, Sampling::training);
  Batch batch(5, 7);
  windows.fill(batch.inputs.data(), batch.targets.data(), 3, 10, 5);
  for (int b = 0; b < 5; ++b) {
    const auto offset = static_cast<int32_t>(windows.offset(3, static_cast<uint64_t>(10 + b)));
    for (int t = 0; t < 7; ++t) {
      CHECK(batch.inputs[static_cast<size_t>(7 * b + t)] == offset + t);
      CHECK(batch.targets[static_cast<size_t>(7 * b + t)] == offset + t + 1);
    }
  }
}

TEST_CASE("a batch does not depend on how it is split") {
  const auto tokens = counting(5000);
  const RandomWindows windows({tokens.data(), tokens.size(), 4}, 16, 7, Sampling::training);
  Batch whole(12, 16);
  windows.fill(whole.inputs.data(), whole.targets.data(), 99, 0, 12);
  for (const int cut : {1, 2, 3, 5, 12}) {
    Batch parts(12, 16);
    for (int first = 0; first < 12; first += cut) {
      const RandomWindows again({tokens.data(), tokens.size(), 4}, 16, 7, Sampling::training);
      again.fill(parts.inputs.data() + first * 16, parts.targets.data() + first * 16, 99, static_cast<uint64_t>(first),
                 std::min(cut, 12 - first));
    }
    CHECK(parts == whole);
  }
}

TEST_CASE("windows depend on seed, step, sequence and sampling") {
  const auto tokens = counting(1'000'000);
  const TokenSpan span(tokens.data(), tokens.size(), 4);
  const auto offset = [&](uint64_t seed, Sampling sampling, uint64_t step, uint64_t sequence) {
    return RandomWindows(span, 64, seed, sampling).offset(step, sequence);
  };
  const uint64_t far = uint64_t{1} << 32;
  std::vector<uint64_t> offsets{offset(1, Sampling::training, 0, 0),       offset(2, Sampling::training, 0, 0),
                                offset(1 + far, Sampling::training, 0, 0), offset(1, Sampling::evaluation, 0, 0),
                                offset(1, Sampling::training, 1, 0),       offset(1, Sampling::training, far, 0),
                                offset(1, Sampling::training, 0, 1),       offset(1, Sampling::training, 1, 1)};
  std::sort(offsets.begin(), offsets.end());
  CHECK(std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end());
  CHECK_THROWS_AS(offset(1, Sampling::training, 0, far), Error);
}

TEST_CASE("offsets are uniform from the first to the last one") {
  const auto tokens = counting(64 + 10);
  const RandomWindows windows({tokens.data(), tokens.size(), 4}, 10, 3, Sampling::training);
  std::vector<double> hits(64);
  const int draws = 64 * 1000;
  for (int i = 0; i < draws; ++i) {
    const uint64_t offset = windows.offset(static_cast<uint64_t>(i / 100), static_cast<uint64_t>(i % 100));
    REQUIRE(offset < 64);
    ++hits[offset];
  }
  double chi_squared = 0.0;
  for (const double count : hits) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000.0;
  CHECK(chi_squared < 63 + 5 * 11.2);  // 63 degrees of freedom: mean 63, deviation sqrt(126)
  CHECK(chi_squared > 63 - 5 * 11.2);
}

TEST_CASE("the shortest split has one window; a shorter one is an error") {
  const auto tokens = counting(9);
  const RandomWindows windows({tokens.data(), 9, 4}, 8, 1, Sampling::evaluation);
  Batch batch(3, 8);
  windows.fill(batch.inputs.data(), batch.targets.data(), 0, 0, 3);
  CHECK(batch.targets[23] == 8);
  CHECK(windows.offset(5, 5) == 0);
  CHECK_THROWS_AS(RandomWindows({tokens.data(), 8, 4}, 8, 1, Sampling::training), UserError);
}

TEST_CASE("sequential windows predict every token but the first exactly once") {
  for (const size_t size : {2, 3, 8, 9, 10, 17, 40, 41, 42}) {
    for (const int T : {1, 3, 8, 50}) {
      for (const int B : {1, 2, 5}) {
        CAPTURE(size);
        CAPTURE(T);
        CAPTURE(B);
        const auto tokens = counting(size);
        const SequentialWindows windows({tokens.data(), size, 4}, T);
        CHECK(windows.predictions() == size - 1);
        std::vector<int32_t> inputs, targets;
        for (uint64_t first = 0; first < windows.windows(); first += static_cast<uint64_t>(B)) {
          Batch batch(B, T);
          const auto real = static_cast<ptrdiff_t>(windows.fill(batch.inputs.data(), batch.targets.data(), first, B));
          inputs.insert(inputs.end(), batch.inputs.begin(), batch.inputs.begin() + real);
          targets.insert(targets.end(), batch.targets.begin(), batch.targets.begin() + real);
          CHECK(std::all_of(batch.inputs.begin() + real, batch.inputs.end(), [](int32_t id) { return id == 0; }));
          CHECK(std::all_of(batch.targets.begin() + real, batch.targets.end(), [](int32_t id) { return id == 0; }));
        }
        std::vector<int32_t> expected(size);
        std::iota(expected.begin(), expected.end(), 0);
        CHECK(inputs == std::vector<int32_t>(expected.begin(), expected.end() - 1));
        CHECK(targets == std::vector<int32_t>(expected.begin() + 1, expected.end()));
        CHECK_THROWS_AS(windows.fill(nullptr, nullptr, windows.windows(), 1), Error);
      }
    }
  }
  const auto one = counting(1);
  CHECK_THROWS_AS(SequentialWindows({one.data(), 1, 4}, 4), UserError);
}
