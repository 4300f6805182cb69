// Hopper's forward kernel, emulated: what tests/kernels/ops/ do not ask of every kernel. The blocks share the work
// through a counter, and tiles go round rings; neither may show in the results. And since the kernel is sound, whether
// its tests would notice if it were not.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/cuda/attention/sm90/launch.h"
#include "kernels/cuda/attention/sm90/schedule.cuh"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {

// The kernel, whatever attention_forward() would choose. Its scratch starts as NaN, which is no zero.
struct Sm90Context : CudaContext {};
inline size_t attention_forward_scratch(const Sm90Context&, const AttentionShape& shape) {
  return attention::sm90::forward_scratch(shape);
}
inline void attention_forward(const Sm90Context& ctx, const AttentionForward<Bf16>& a) {
  attention::sm90::launch_forward(ctx, a);
}

namespace {

void run(AttentionProblem& x) {
  const TestSite site(x.p, x.rng, x.site);
  run_forward<Bf16>(Sm90Context{}, x, site.dropout);
}

AttentionProblem problem(const AttentionShape& shape, Layout layout, float p, RandomInputs& inputs) {
  AttentionProblem x(shape, layout, p, inputs);
  x.round_inputs<Bf16>();
  return x;
}

bool is_good(const AttentionProblem& x, const AttentionBounds<Bf16>& bounds) {
  bool good = true;
  bounds.for_each(x, [&](const std::string& what, double error, double bound) {
    if (what == "out" || what == "lse") good = good && error <= bound;
  });
  return good;
}

TEST_CASE("sm90 attention forward: head sizes, grouped heads, keys before the queries, strides") {
  RandomInputs inputs(20261501);
  INFO("seed ", inputs.seed);
  struct Case {
    int B, T, S, NH, NKV, HS;
    bool causal;
    float p;
    Layout layout;
  };
  using enum Layout;
  for (const Case& c :
       {Case{2, 193, 193, 2, 1, 8, true, 0.1f, packed}, Case{1, 65, 200, 4, 2, 40, true, 0.0f, separate},
        Case{1, 1, 150, 2, 1, 64, true, 0.0f, separate}, Case{2, 130, 130, 1, 1, 64, false, 0.2f, packed},
        Case{1, 70, 300, 2, 1, 96, true, 0.0f, separate}, Case{1, 129, 129, 2, 2, 96, true, 0.1f, separate},
        Case{1, 200, 200, 2, 1, 128, false, 0.1f, packed}}) {
    INFO("T ", c.T, ", S ", c.S, ", HS ", c.HS, ", causal ", c.causal, ", p ", c.p);
    AttentionProblem x = problem(attention_shape(c.B, c.T, c.S, c.NH, c.NKV, c.HS, c.causal), c.layout, c.p, inputs);
    run(x);
    CHECK(is_good(x, AttentionBounds<Bf16>(x)));
  }
}

TEST_CASE("sm90 attention forward: the schedule has every item once, in a section the longest first") {
  using attention::sm90::Divider, attention::sm90::Item, attention::sm90::Schedule;
  RandomInputs inputs(20261506);
  INFO("seed ", inputs.seed);
  constexpr int kMost = 0x7fffffff;
  for (int i = 0; i < 2000; ++i) {
    const int divisor = 1 + inputs.below(i % 2 ? 1000 : kMost);
    const Divider divide(divisor);
    for (const int n : {0, divisor - 1, inputs.below(kMost), kMost / divisor * divisor - 1, kMost}) {
      REQUIRE(divide(n) == n / divisor);
    }
  }
  for (int i = 0; i < 100; ++i) {
    const int blocks = 1 + inputs.below(9), B = 1 + inputs.below(4), NH = 1 + inputs.below(6);
    const int section_heads = 1 + inputs.below(B * NH);
    INFO("blocks ", blocks, ", B ", B, ", NH ", NH, ", heads of a section ", section_heads);
    const Schedule schedule(blocks, B, NH, section_heads);
    REQUIRE(schedule.items() == blocks * B * NH);
    std::set<std::tuple<int, int, int>> seen;
    for (int index = 0, last = 0; index < schedule.items(); ++index) {
      const Item item = schedule.item(index);
      CHECK((item.block >= 0 && item.block < blocks && item.b >= 0 && item.b < B && item.h >= 0 && item.h < NH));
      CHECK(seen.emplace(item.block, item.b, item.h).second);
      const bool new_section = index % (section_heads * blocks) == 0;
      CHECK((new_section ? item.block == blocks - 1 : item.block <= last));
      last = item.block;
    }
    CHECK(schedule.item(schedule.items()).is_none());
  }
}

// Rings go round many times, and blocks take several items each.
TEST_CASE("sm90 attention forward: the same bits from any number of blocks, in any order") {
  RandomInputs inputs(20261502);
  INFO("seed ", inputs.seed);
  const simt::SavedDevice saved;
  for (const int HS : {64, 128}) {
    INFO("HS ", HS);
    const AttentionProblem start = problem(attention_shape(1, 460, 460, 2, 1, HS, true), Layout::packed, 0.1f, inputs);
    AttentionProblem first = start;
    run(first);
    REQUIRE(is_good(first, AttentionBounds<Bf16>(first)));
    int blocks = 1;
    simt::in_every_order(
        [&] {
          simt::device.multiprocessors = blocks;
          simt::options.workers = blocks % 2 + 1;
          INFO("blocks ", blocks);
          AttentionProblem x = start;
          run(x);
          CHECK(same_bits(x.out.buffer, first.out.buffer));
          CHECK(same_bits(x.lse, first.lse));
          blocks += 2;
        },
        2);
  }
}

// A warpgroup of queries 128 m to 128 m + 63 sees half of its last tile. It does not read the other half; and its bits
// are those of whole tiles, which a warpgroup that begins one query later takes.
TEST_CASE("sm90 attention forward: half tiles") {
  RandomInputs inputs(20261508);
  INFO("seed ", inputs.seed);
  for (const int HS : {64, 128}) {
    INFO("HS ", HS);
    const AttentionProblem start = problem(attention_shape(1, 330, 330, 1, 1, HS, true), Layout::packed, 0.0f, inputs);
    AttentionProblem x = start, hidden = start, later = start;
    run(x);
    REQUIRE(is_good(x, AttentionBounds<Bf16>(x)));
    for (int t = 192; t < 330; ++t) std::fill_n(hidden.v.at(0, t, 0), HS, INFINITY);
    run(hidden);
    later.q.first += later.q.token_stride;
    --later.shape.T;
    run(later);
    const auto same = [&](const AttentionProblem& other, int t, int other_t) {
      return std::equal(x.out.at(0, t, 0), x.out.at(0, t, 0) + HS, other.out.at(0, other_t, 0)) &&
             x.lse[t] == other.lse[other_t];
    };
    for (int t = 0; t < 330; ++t) {
      CAPTURE(t);
      if (t < 192) CHECK(same(hidden, t, t));
      if (t > 0) CHECK(same(later, t, t - 1));
    }
  }
}

// Two of three warpgroups have no query, and let all tiles pass.
TEST_CASE("sm90 attention forward: few queries, many keys") {
  RandomInputs inputs(20261505);
  INFO("seed ", inputs.seed);
  const AttentionProblem start = problem(attention_shape(1, 2, 2000, 1, 1, 64, true), Layout::separate, 0.0f, inputs);
  const AttentionBounds<Bf16> bounds(start);
  simt::in_every_order(
      [&] {
        AttentionProblem x = start;
        run(x);
        CHECK(is_good(x, bounds));
      },
      8);
}

TEST_CASE("sm90 attention forward: the mask, bit for bit, and no lse") {
  RandomInputs inputs(20261503);
  INFO("seed ", inputs.seed);
  for (const int HS : {64, 128}) {
    for (const bool causal : {false, true}) {
      INFO("HS ", HS, ", causal ", causal);
      AttentionProblem x(attention_shape(2, 140, 140, 2, 2, HS, causal), Layout::packed, 0.4f, inputs);
      const TestSite site(x.p, x.rng, x.site);
      x.q.fill([](int, int) { return 0.0f; });
      x.k.fill([](int, int) { return 0.0f; });
      int wrong = 0;
      for (int base = 0; base < x.shape.T; base += HS) {
        x.v.fill([base](int t, int c) { return t == base + c ? 1.0f : 0.0f; });
        run_forward<Bf16>(Sm90Context{}, x, site.dropout, false);
        for (int b = 0; b < 2; ++b)
          for (int h = 0; h < 2; ++h)
            for (int i = 0; i < x.shape.T; ++i)
              for (int c = 0; c < HS && base + c < x.shape.T; ++c) {
                const bool kept = (!causal || base + c <= i) && x.keeps(b, h, i, base + c);
                const float value = x.out.at(b, i, h)[c];
                wrong += (value != 0.0f) != kept || std::isnan(value);
              }
      }
      CHECK(wrong == 0);
      CHECK(std::isnan(x.lse[0]));  // not written
    }
  }
}

// A problem, and whether a planted bug shows in it, as an error of the emulator or in wrong results, in one of the
// orders.
struct Trial {
  explicit Trial(AttentionProblem problem) : start(std::move(problem)), bounds(start) {}
  bool fails() const {
    bool fails = false;
    simt::in_every_order(
        [&] {
          if (fails) return;
          try {
            AttentionProblem x = start;
            run(x);
            fails = !is_good(x, bounds);
          } catch (const simt::Error&) {
            fails = true;
          }
        },
        8);
    return fails;
  }

  AttentionProblem start;
  AttentionBounds<Bf16> bounds;
};

TEST_SUITE_BEGIN("large");  // a planted race would be ThreadSanitizer's to report

TEST_CASE("sm90 attention forward: every planted bug shows") {
  RandomInputs inputs(20261504);
  INFO("seed ", inputs.seed);
  const Trial plain(problem(attention_shape(1, 300, 300, 1, 1, 64, true), Layout::packed, 0.1f, inputs));
  const Trial overlapped(problem(attention_shape(1, 300, 300, 1, 1, 128, true), Layout::packed, 0.1f, inputs));
  const Trial few_queries(problem(attention_shape(1, 2, 3000, 1, 1, 64, true), Layout::separate, 0.0f, inputs));
  simt::take_barrier_sites(), simt::take_syncwarp_sites();
  for (const Trial* trial : {&plain, &overlapped, &few_queries}) REQUIRE_FALSE(trial->fails());
  using enum simt::Fault;
  const std::set<std::string> barriers = simt::take_barrier_sites(), syncwarps = simt::take_syncwarp_sites();
  const simt::SavedOptions saved;
  for (const simt::Fault fault : {no_wgmma_wait, late_wgmma_wait, wrong_bytes, wrong_stride}) {
    INFO("fault ", static_cast<int>(fault));
    simt::options.fault = fault;
    CHECK(plain.fails());
    CHECK(overlapped.fails());
  }
  const auto without = [&](simt::Fault fault, const std::string& site) {
    simt::options.fault = fault, simt::options.fault_site = site;
    return plain.fails() || few_queries.fails();
  };
  CHECK(barriers.size() == 1);
  for (const std::string& site : barriers) CHECK(without(no_barrier, site));
  CHECK(syncwarps.size() == 1);
  for (const std::string& site : syncwarps) CHECK(without(no_syncwarp, site));
}

// So long that one block, which takes every item, loads each stage several times. Queries may be released one wait
// earlier: it is that of P V, which does not read them.
TEST_CASE("sm90 attention forward: an early release of keys or values shows") {
  RandomInputs inputs(20261507);
  INFO("seed ", inputs.seed);
  const simt::SavedDevice saved;
  simt::device.multiprocessors = 1;
  struct Case {
    int HS;
    size_t query_stages;  // of all warpgroups
  };
  for (const Case& c : {Case{64, 6}, Case{128, 4}}) {
    INFO("HS ", c.HS);
    const Trial trial(problem(attention_shape(1, 700, 700, 1, 1, c.HS, true), Layout::packed, 0.0f, inputs));
    const auto wrong = [&] {
      AttentionProblem x = trial.start;
      run(x);
      return !is_good(x, trial.bounds);
    };
    std::string unnoticed;
    const std::set<std::string> sites = simt::unnoticed_early_releases(wrong, 8);
    for (const std::string& site : sites) unnoticed += site + "\n";
    INFO(unnoticed);
    CHECK(sites.size() == c.query_stages);
  }
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint::test
