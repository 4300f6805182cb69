// Hopper's backward kernel, emulated: what tests/kernels/ops/ do not ask of every kernel. Blocks share the work through
// a counter and add to one another's dQ; neither may show in the results. And since the kernel is sound, whether its
// tests would notice if it were not.
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/attention/sm90/launch.h"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {

// Its scratch starts as `garbage`.
struct Sm90Backward : CudaContext {
  explicit Sm90Backward(float scratch) : garbage(scratch) {}

  float garbage;
};
inline size_t attention_backward_scratch(const Sm90Backward&, const AttentionShape&) { return 0; }
inline void attention_backward(const Sm90Backward& ctx, AttentionBackward<Bf16> a) {
  const Guarded<float> scratch(HopperBackwardScratch(a.shape).all(), ctx.garbage, 0);
  a.scratch = scratch.data();
  attention::sm90::launch_backward(ctx, a);
  scratch.values();
}

namespace {

void put_in_order(HeadArray& to, const std::vector<double>& values) {
  size_t from = 0;
  for (int b = 0; b < to.B; ++b)
    for (int h = 0; h < to.heads; ++h)
      for (int t = 0; t < to.tokens; ++t)
        for (int c = 0; c < to.HS; ++c) to.at(b, t, h)[c] = static_cast<float>(values[from++]);
}

// A problem, what forward gives for it, and how good backward must be.
struct Case {
  Case(const AttentionShape& shape, Layout layout, float p, RandomInputs& inputs)
      : problem(rounded(AttentionProblem(shape, layout, p, inputs))), bounds(problem) {
    put_in_order(problem.out, bounds.exact.out);
    problem.out.buffer = test::rounded<Bf16>(problem.out.buffer);
    problem.lse = convert<float>(bounds.exact.lse);
  }
  static AttentionProblem rounded(AttentionProblem x) {
    x.round_inputs<Bf16>();
    return x;
  }
  bool is_good(const AttentionProblem& x) const {
    bool good = true;
    bounds.for_each(x, [&](const std::string&, double error, double bound) { good = good && error <= bound; });
    return good;
  }

  AttentionProblem problem;
  AttentionBounds<Bf16> bounds;
};

// The scratch's floats are no counters that are zero.
AttentionProblem run(AttentionProblem x, float garbage = 1e30f) {
  const TestSite site(x.p, x.rng, x.site);
  run_backward<Bf16>(Sm90Backward(garbage), x, site.dropout);
  return x;
}

bool same_gradients(const AttentionProblem& x, const AttentionProblem& y) {
  return same_bits(x.dq.buffer, y.dq.buffer) && same_bits(x.dk.buffer, y.dk.buffer) &&
         same_bits(x.dv.buffer, y.dv.buffer);
}

// What is not a result stays as it was: NaN.
void check_untouched(const AttentionProblem& x) {
  for (const HeadArray* array : {&x.dq, &x.dk, &x.dv}) {
    const auto finite =
        std::count_if(array->buffer.begin(), array->buffer.end(), [](float v) { return std::isfinite(v); });
    CHECK(finite == array->B * array->tokens * array->heads * array->HS);
  }
}

TEST_CASE("sm90 attention backward: head sizes, grouped heads, keys before the queries, strides") {
  RandomInputs inputs(20261511);
  INFO("seed ", inputs.seed);
  struct Shape {
    int B, T, S, NH, NKV, HS;
    bool causal;
    float p;
    Layout layout;
  };
  using enum Layout;
  for (const Shape& s :
       {Shape{2, 193, 193, 2, 1, 8, true, 0.1f, packed}, Shape{1, 65, 300, 4, 2, 40, true, 0.0f, separate},
        Shape{1, 1, 150, 2, 1, 64, true, 0.0f, separate}, Shape{2, 130, 130, 1, 1, 64, false, 0.2f, packed},
        Shape{1, 70, 300, 2, 1, 96, true, 0.0f, separate}, Shape{1, 129, 129, 2, 2, 96, true, 0.1f, separate},
        Shape{1, 200, 200, 2, 1, 128, false, 0.1f, packed}, Shape{1, 64, 64, 1, 1, 128, true, 0.0f, packed}}) {
    INFO("B ", s.B, ", T ", s.T, ", S ", s.S, ", HS ", s.HS, ", causal ", s.causal, ", p ", s.p);
    const Case c(attention_shape(s.B, s.T, s.S, s.NH, s.NKV, s.HS, s.causal), s.layout, s.p, inputs);
    const AttentionProblem x = run(c.problem);
    c.bounds.for_each(x, [](const std::string& what, double error, double bound) {
      INFO(what);
      CHECK(error <= bound);
    });
    check_untouched(x);
  }
}

TEST_CASE(
    "sm90 attention backward: the same bits from any number of blocks, in any order, whatever the scratch holds") {
  RandomInputs inputs(20261512);
  INFO("seed ", inputs.seed);
  const simt::SavedDevice saved_device;
  for (const int HS : {64, 128}) {
    INFO("HS ", HS);
    const Case c(attention_shape(1, 330, 330, 2, 1, HS, true), Layout::packed, 0.1f, inputs);
    const AttentionProblem first = run(c.problem);
    REQUIRE(c.is_good(first));
    int blocks = 1;
    simt::in_every_order(
        [&] {
          simt::device.multiprocessors = blocks;
          simt::options.workers = blocks % 2 + 1;
          INFO("blocks ", blocks);
          CHECK(same_gradients(run(c.problem, blocks == 1 ? std::nanf("") : 1e30f), first));
          blocks += 2;
        },
        2);
  }
}

// Two calls with one scratch, which the first leaves as it is.
TEST_CASE("sm90 attention backward: a call after another") {
  RandomInputs inputs(20261513);
  INFO("seed ", inputs.seed);
  const Case c(attention_shape(1, 200, 200, 1, 1, 64, true), Layout::packed, 0.0f, inputs);
  AttentionProblem x = c.problem;
  const DeviceHeads<Bf16> q(x.q), k(x.k), v(x.v), out(x.out), dout(x.dout), dq(x.dq), dk(x.dk), dv(x.dv);
  const Guarded<float> lse(x.lse), scratch(HopperBackwardScratch(x.shape).all());
  for (int turn = 0; turn < 2; ++turn) {
    attention::sm90::launch_backward(CudaContext{}, {.dq = dq.view(),
                                                     .dk = dk.view(),
                                                     .dv = dv.view(),
                                                     .dout = dout.view(),
                                                     .out = out.view(),
                                                     .lse = lse.data(),
                                                     .q = q.view(),
                                                     .k = k.view(),
                                                     .v = v.view(),
                                                     .scratch = scratch.data(),
                                                     .shape = x.shape});
  }
  x.dq.buffer = dq.elements.values(), x.dk.buffer = dk.elements.values(), x.dv.buffer = dv.elements.values();
  CHECK(same_gradients(x, run(c.problem)));
}

// With equal scores, P is 1 / (keys seen). An identity matrix for dO gives M in dV; one for K, with dP = 1, gives it in
// dQ.
TEST_CASE("sm90 attention backward: the mask, bit for bit") {
  RandomInputs inputs(20261514);
  INFO("seed ", inputs.seed);
  const auto identity = [](int base) { return [base](int t, int c) { return t == base + c ? 1.0f : 0.0f; }; };
  const auto first_column = [](int, int c) { return c == 0 ? 1.0f : 0.0f; };
  const auto zero = [](int, int) { return 0.0f; };
  for (const int HS : {64, 128}) {
    INFO("HS ", HS);
    AttentionProblem x(attention_shape(2, 140, 140, 2, 2, HS, HS == 64), Layout::packed, 0.4f, inputs);
    const int T = x.shape.T;
    for (HeadArray* array : {&x.q, &x.k, &x.v, &x.out, &x.dout}) array->fill(zero);
    for (size_t row = 0; row < x.lse.size(); ++row) {
      x.lse[row] = std::log(static_cast<float>(x.shape.causal ? row % T + 1 : T));
    }
    int wrong = 0;
    const auto count = [&](const HeadArray& gradient, int base, bool of_keys) {
      for (int b = 0; b < 2; ++b)
        for (int h = 0; h < 2; ++h)
          for (int t = 0; t < T; ++t)
            for (int c = 0; c < HS && base + c < T; ++c) {
              const int i = of_keys ? base + c : t, j = of_keys ? t : base + c;
              const bool kept = (!x.shape.causal || j <= i) && x.keeps(b, h, i, j);
              const float value = gradient.at(b, t, h)[c];
              wrong += (value != 0.0f) != kept || std::isnan(value);
            }
    };
    for (int base = 0; base < T; base += HS) {
      x.dout.fill(identity(base));
      count(run(x).dv, base, true);
      AttentionProblem other = x;
      other.dout.fill(first_column), other.v.fill(first_column), other.k.fill(identity(base));
      count(run(other).dq, base, false);
    }
    CHECK(wrong == 0);
  }
}

// Whether the planted bug shows, as an error of the emulator or in wrong results, in one of the orders.
bool fault_shows(const Case& c) {
  bool shows = false;
  simt::in_every_order(
      [&] {
        if (shows) return;
        try {
          shows = !c.is_good(run(c.problem));
        } catch (const simt::Error&) {
          shows = true;
        }
      },
      8);
  return shows;
}

TEST_SUITE_BEGIN("large");  // a planted race would be ThreadSanitizer's to report

TEST_CASE("sm90 attention backward: every planted bug shows") {
  RandomInputs inputs(20261515);
  INFO("seed ", inputs.seed);
  const simt::SavedDevice saved_device;
  simt::device.multiprocessors = 3;
  for (const int HS : {64, 128}) {
    const Case causal(attention_shape(1, 300, 300, 1, 1, HS, true), Layout::packed, 0.1f, inputs);
    const Case full(attention_shape(1, 320, 430, 1, 1, HS, false), Layout::separate, 0.0f, inputs);
    INFO("HS ", HS);
    const auto shows = [&] { return fault_shows(causal) || fault_shows(full); };
    simt::take_barrier_sites(), simt::take_syncwarp_sites();
    REQUIRE_FALSE(shows());
    using enum simt::Fault;
    const std::set<std::string> barriers = simt::take_barrier_sites(), syncwarps = simt::take_syncwarp_sites();
    const simt::SavedOptions saved;
    for (const simt::Fault fault :
         {no_wgmma_wait, late_wgmma_wait, wrong_bytes, wrong_stride, no_proxy_fence, wrong_turn}) {
      INFO("fault ", static_cast<int>(fault));
      simt::options.fault = fault;
      CHECK(shows());
    }
    for (const simt::Fault fault : {no_barrier, no_syncwarp}) {
      const std::set<std::string>& sites = fault == no_barrier ? barriers : syncwarps;
      CHECK_FALSE(sites.empty());
      if (fault == no_syncwarp && HS == 128) continue;  // of two stages, a lane rarely misses a phase
      simt::options.fault = fault;
      for (const std::string& site : sites) {
        INFO("fault ", static_cast<int>(fault), " at ", site);
        simt::options.fault_site = site;
        CHECK(shows());
      }
    }
  }
}

// One block, which takes every item, loads each stage several times. Some may come a wait earlier: that an item has
// been read; that K and V of 128 channels have been, as the last products do not read them. And some are noticed in few
// orders: K and V, whose place is filled again two items later; its dS, which is read a step later.
TEST_CASE("sm90 attention backward: an early release of a stage shows") {
  RandomInputs inputs(20261516);
  INFO("seed ", inputs.seed);
  const simt::SavedDevice saved_device;
  simt::device.multiprocessors = 1;
  for (const int HS : {64, 128}) {
    const Case c(attention_shape(1, 500, 500, 1, 1, HS, true), Layout::packed, 0.0f, inputs);
    INFO("HS ", HS);
    std::string unnoticed;
    const auto sites = simt::unnoticed_early_releases([&] { return !c.is_good(run(c.problem)); });
    for (const std::string& site : sites) unnoticed += site + "\n";
    INFO(unnoticed);
    const size_t others = HS == 64 ? 4 : 3;  // than those of the tiles that go by
    CHECK(sites.size() <= others);
  }
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint::test
