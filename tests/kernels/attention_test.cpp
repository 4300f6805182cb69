#include "kernels/attention.h"

#include <doctest/doctest.h>

#include <cstring>
#include <initializer_list>
#include <string>

#include "kernels/check.h"
#include "tests/kernels/attention_oracle.h"

namespace glint {
namespace {

using test::Answer;
using test::Layout;
using test::Problem;
using test::RandomInputs;

enum class Kernel { tiled, reference };
std::string name_of(Kernel kernel) { return kernel == Kernel::tiled ? "tiled" : "reference"; }

// Scratch of exactly the size asked for, with a guard behind it.
struct Scratch {
  explicit Scratch(size_t size) : floats(size + 16, kGuard) {}
  bool intact() const {
    return std::all_of(floats.end() - 16, floats.end(), [](float x) { return x == kGuard; });
  }

  static constexpr float kGuard = 12345.0f;
  std::vector<float> floats;
};

void forward(Kernel kernel, Problem& x, int threads) {
  CpuContext ctx;
  ctx.threads = threads;
  if (kernel == Kernel::tiled) {
    attention_forward(ctx, x.forward_arguments());
  } else {
    Scratch scratch(reference_attention_scratch(ctx, x.shape));
    AttentionForward<float> a = x.forward_arguments();
    a.scratch = scratch.floats.data();
    reference_attention_forward(ctx, a);
    CHECK(scratch.intact());
  }
}

void backward(Kernel kernel, Problem& x, int threads) {
  CpuContext ctx;
  ctx.threads = threads;
  const bool tiled = kernel == Kernel::tiled;
  Scratch scratch(tiled ? attention_backward_scratch(ctx, x.shape) : reference_attention_scratch(ctx, x.shape));
  AttentionBackward<float> a = x.backward_arguments();
  a.scratch = scratch.floats.data();
  tiled ? attention_backward(ctx, a) : reference_attention_backward(ctx, a);
  CHECK(scratch.intact());
}

// The bound: `factor` times the error of plain float, and eight roundings of the largest element or, where numbers
// larger than the result cancel, of `terms`.
void check_close(const std::string& name, const std::vector<float>& values, const std::vector<float>& plain,
                 const std::vector<double>& truth, double factor, double terms = 0.0) {
  INFO(name);
  REQUIRE(values.size() == truth.size());
  const double rounding = 8 * 0x1p-24 * std::max(test::magnitude(truth), terms);
  CHECK(test::distance(values, truth) <= factor * test::distance(plain, truth) + rounding);
}

void check_problem(Problem& x, int threads) {
  const AttentionShape& s = x.shape;
  INFO("B ", s.B, ", T ", s.T, ", S ", s.S, ", NH ", s.NH, ", NKV ", s.NKV, ", HS ", s.HS, ", causal ", s.causal,
       ", p ", x.dropout.p, ", threads ", threads);
  const Answer<double> truth = test::oracle<double>(x);
  const Answer<float> plain = test::oracle<float>(x);
  const double q_size = test::magnitude(in_order(x.q, s.B, s.NH, s.T, s.HS));
  const double k_size = test::magnitude(in_order(x.k, s.B, s.NKV, s.S, s.HS));
  for (const Kernel kernel : {Kernel::tiled, Kernel::reference}) {
    INFO("kernel ", name_of(kernel));
    forward(kernel, x, threads);
    backward(kernel, x, threads);
    check_close("out", in_order(x.out, s.B, s.NH, s.T, s.HS), plain.out, truth.out, 2);
    check_close("lse", x.lse, plain.lse, truth.lse, 2);
    check_close("dq", in_order(x.dq, s.B, s.NH, s.T, s.HS), plain.dq, truth.dq, 3, truth.ds_terms * k_size);
    check_close("dk", in_order(x.dk, s.B, s.NKV, s.S, s.HS), plain.dk, truth.dk, 3, truth.ds_terms * q_size);
    check_close("dv", in_order(x.dv, s.B, s.NKV, s.S, s.HS), plain.dv, truth.dv, 3);
  }
}

AttentionShape make_shape(int B, int T, int S, int NH, int NKV, int HS, bool causal) {
  return {B, T, S, NH, NKV, HS, causal, 1.0f / std::sqrt(static_cast<float>(HS))};
}

void check_lengths(std::initializer_list<int> lengths, uint64_t seed) {
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  const int head_sizes[] = {8, 16, 24, 32, 64, 72, 128, 256};
  int turn = 0;
  for (const int T : lengths) {
    for (const bool causal : {true, false}) {
      for (const float p : {0.0f, 0.1f, 0.5f}) {
        const int HS = T > 200 ? (turn % 2 ? 40 : 16) : head_sizes[turn % 8];
        const int NH = T > 200 ? 1 : 2 + turn % 3, NKV = turn % 2 ? NH : (NH % 2 == 0 ? NH / 2 : 1);
        const Layout layout = turn / 2 % 2 ? Layout::packed : Layout::separate;
        Problem x(make_shape(T > 100 ? 1 : 2, T, T, NH, NKV, HS, causal), layout, p, inputs);
        check_problem(x, 1 + turn % 3);
        ++turn;
      }
    }
  }
}

TEST_CASE("attention agrees with the double oracle") { check_lengths({1, 3, 17, 64, 65}, 20260803); }

TEST_CASE("attention agrees with the double oracle on long sequences") { check_lengths({127, 200, 513}, 20260812); }

TEST_CASE("attention takes every head size") {
  RandomInputs inputs(20260804);
  INFO("seed ", inputs.seed);
  for (int HS = 8; HS <= 256; HS += 8) {
    Problem x(make_shape(1, 21, 21, 2, 1, HS, HS % 16 == 0), Layout::packed, HS % 24 == 0 ? 0.2f : 0.0f, inputs);
    check_problem(x, 2);
  }
}

TEST_CASE("attention with more keys than queries is aligned to the bottom right") {
  RandomInputs inputs(20260805);
  INFO("seed ", inputs.seed);
  const int sizes[][2] = {{1, 2},   {1, 64},  {1, 65},   {1, 200},  {5, 70},
                          {17, 64}, {64, 65}, {63, 150}, {65, 129}, {100, 163}};
  for (const auto& [T, S] : sizes) {
    for (const bool causal : {true, false}) {
      Problem x(make_shape(2, T, S, 4, 2, 24, causal), Layout::separate, 0.0f, inputs);
      check_problem(x, 2);
    }
  }
}

TEST_CASE("keys cut into ranges for many threads") {
  RandomInputs inputs(20260806);
  INFO("seed ", inputs.seed);
  for (const int threads : {2, 3, 7}) {
    for (const bool causal : {true, false}) {
      Problem x(make_shape(1, 330, 330, 2, 1, 16, causal), Layout::packed, causal ? 0.1f : 0.0f, inputs);
      check_problem(x, threads);
      Problem longer(make_shape(1, 100, 333, 1, 1, 8, causal), Layout::separate, 0.0f, inputs);
      check_problem(longer, threads);
    }
  }
}

// V = identity makes `out` the dropped P itself, dO = identity makes dV its transpose: zero exactly where dropped or
// unseen.
TEST_CASE("both kernels drop what the mask drops, in forward and backward") {
  RandomInputs inputs(20260808);
  INFO("seed ", inputs.seed);
  constexpr int T = 200;
  Problem x(make_shape(1, T, T, 2, 2, T, true), Layout::packed, 0.3f, inputs);
  for (int t = 0; t < T; ++t) {
    for (int h = 0; h < 2; ++h) {
      std::fill_n(x.v.view().at(0, t, h), T, 0.0f);
      std::fill_n(x.dout.view().at(0, t, h), T, 0.0f);
      x.v.view().at(0, t, h)[t] = x.dout.view().at(0, t, h)[t] = 1.0f;
    }
  }
  for (const Kernel kernel : {Kernel::tiled, Kernel::reference}) {
    INFO("kernel ", name_of(kernel));
    forward(kernel, x, 2);
    backward(kernel, x, 2);
    int wrong = 0, kept_count = 0;
    for (int h = 0; h < 2; ++h) {
      for (int i = 0; i < T; ++i) {
        for (int j = 0; j < T; ++j) {
          const bool kept = j <= i && keep_attention(x.rng.seed, x.rng.offset + x.dropout.site,
                                                     x.rng.first_sequence * 2 + h, i, j, keep_rule(0.3f).threshold);
          wrong += (x.out.view().at(0, i, h)[j] != 0.0f) != kept;
          wrong += (x.dv.view().at(0, j, h)[i] != 0.0f) != kept;
          kept_count += kept;
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(kept_count > T * T / 2);  // of T*(T+1)
  }
}

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("attention is bitwise repeatable, and forward whatever the thread count") {
  RandomInputs inputs(20260809);
  INFO("seed ", inputs.seed);
  Problem first(make_shape(1, 300, 300, 3, 1, 32, true), Layout::packed, 0.1f, inputs);
  forward(Kernel::tiled, first, 1);
  for (const int threads : {1, 2, 5}) {
    INFO("threads ", threads);
    Problem once = first, again = first;
    forward(Kernel::tiled, once, threads);
    CHECK(same_bytes(once.out.buffer, first.out.buffer));
    CHECK(same_bytes(once.lse, first.lse));
    backward(Kernel::tiled, once, threads);
    backward(Kernel::tiled, again, threads);
    CHECK(same_bytes(once.dq.buffer, again.dq.buffer));
    CHECK(same_bytes(once.dk.buffer, again.dk.buffer));
    CHECK(same_bytes(once.dv.buffer, again.dv.buffer));
  }
}

TEST_CASE("attention writes its own elements and no others") {
  RandomInputs inputs(20260810);
  INFO("seed ", inputs.seed);
  Problem x(make_shape(2, 70, 70, 2, 1, 24, true), Layout::separate, 0.1f, inputs);
  forward(Kernel::tiled, x, 2);
  backward(Kernel::tiled, x, 2);
  const auto not_written = [](const test::Array& array) {
    return std::count_if(array.buffer.begin(), array.buffer.end(), [](float value) { return std::isnan(value); });
  };
  CHECK(not_written(x.out) == 0);
  CHECK(not_written(x.dq) == 2 * 2 * 24);  // the gap behind each head of each sequence
  CHECK(not_written(x.dk) == 2 * 1 * 24);
  CHECK(not_written(x.dv) == 2 * 1 * 24);
}

TEST_CASE("huge scores neither overflow nor lose the largest") {
  RandomInputs inputs(20260811);
  INFO("seed ", inputs.seed);
  Problem x(make_shape(1, 100, 100, 1, 1, 16, true), Layout::packed, 0.0f, inputs);
  x.shape.scale = 1000.0f;  // the softmax all but picks one key
  forward(Kernel::tiled, x, 1);
  backward(Kernel::tiled, x, 1);
  const Answer<double> truth = test::oracle<double>(x);
  const Answer<float> plain = test::oracle<float>(x);
  check_close(
      "out", in_order(x.out, 1, 1, 100, 16), plain.out, truth.out, 2,
      test::magnitude(truth.lse) * test::magnitude(in_order(x.v, 1, 1, 100, 16)));  // a score's rounding is P's error
  check_close("lse", x.lse, plain.lse, truth.lse, 2);
  for (const float gradient : in_order(x.dq, 1, 1, 100, 16)) REQUIRE(std::isfinite(gradient));
}

TEST_CASE("a NaN stays one, in the rows that see it") {
  RandomInputs inputs(20260812);
  INFO("seed ", inputs.seed);
  for (const Kernel kernel : {Kernel::tiled, Kernel::reference}) {
    Problem x(make_shape(1, 90, 90, 1, 1, 8, true), Layout::separate, 0.0f, inputs);
    x.k.view().at(0, 70, 0)[3] = std::numeric_limits<float>::quiet_NaN();
    forward(kernel, x, 1);
    for (int i = 0; i < 90; ++i) {
      INFO("row ", i);
      CHECK(std::isnan(x.out.view().at(0, i, 0)[0]) == (i >= 70));
    }
  }
}

TEST_CASE("attention without a place for the log-sum-exp") {
  RandomInputs inputs(20260813);
  INFO("seed ", inputs.seed);
  Problem x(make_shape(1, 33, 33, 1, 1, 8, true), Layout::separate, 0.0f, inputs), without = x;
  forward(Kernel::tiled, x, 1);
  AttentionForward<float> a = without.forward_arguments();
  a.lse = nullptr;
  attention_forward(CpuContext{}, a);
  CHECK(same_bytes(without.out.buffer, x.out.buffer));
}

TEST_CASE("attention refuses shapes that it cannot do") {
  RandomInputs inputs(20260814);
  const AttentionShape good = make_shape(1, 4, 4, 2, 1, 8, true);
  Problem x(good, Layout::separate, 0.1f, inputs);
  const auto refuses = [&](auto change) {
    Problem bad = x;
    change(bad);
    CHECK_THROWS_AS(forward(Kernel::tiled, bad, 1), Error);
    CHECK_THROWS_AS(forward(Kernel::reference, bad, 1), Error);
    CHECK_THROWS_AS(backward(Kernel::tiled, bad, 1), Error);
  };
  refuses([](Problem& p) { p.shape.HS = 12; });
  refuses([](Problem& p) { p.shape.HS = 264; });
  refuses([](Problem& p) { p.shape.T = 0; });
  refuses([](Problem& p) { p.shape.S = 3; });
  refuses([](Problem& p) { p.shape.S = 5; });  // more keys than queries: no dropout there
  refuses([](Problem& p) { p.shape.NKV = 0; });
  refuses([](Problem& p) { p.shape.NKV = 3; });
  refuses([](Problem& p) { p.dropout.p = 1.0f; });
  refuses([](Problem& p) { p.dropout.p = -0.1f; });
  refuses([](Problem& p) { p.dropout.p = std::numeric_limits<float>::quiet_NaN(); });
  CHECK_NOTHROW(forward(Kernel::tiled, x, 1));
}

}  // namespace
}  // namespace glint
