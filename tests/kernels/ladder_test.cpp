// The rungs of kernels/ladder against the oracle of attention's tests, and their masks bit for bit.
#include "kernels/ladder/ladder.h"

#include <doctest/doctest.h>

#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

using ladder::Rung;

// Forward, then backward with the scratch that forward left. What is not written stays NaN.
void run(const Rung& rung, AttentionProblem& x) {
  const TestSite site(x.p, x.rng, x.site);
  const Guarded<float> scratch(rung.scratch(x.shape, site.dropout.on()).all(x.shape));
  rung.forward({.out = x.out.over(x.out.buffer.data()),
                .lse = x.lse.data(),
                .q = x.q.over(x.q.buffer.data()),
                .k = x.k.over(x.k.buffer.data()),
                .v = x.v.over(x.v.buffer.data()),
                .scratch = scratch.data(),
                .shape = x.shape,
                .dropout = site.dropout});
  rung.backward({.dq = x.dq.over(x.dq.buffer.data()),
                 .dk = x.dk.over(x.dk.buffer.data()),
                 .dv = x.dv.over(x.dv.buffer.data()),
                 .dout = x.dout.over(x.dout.buffer.data()),
                 .out = x.out.over(x.out.buffer.data()),
                 .lse = x.lse.data(),
                 .q = x.q.over(x.q.buffer.data()),
                 .k = x.k.over(x.k.buffer.data()),
                 .v = x.v.over(x.v.buffer.data()),
                 .scratch = scratch.data(),
                 .shape = x.shape,
                 .dropout = site.dropout});
  scratch.values();
}

void check_rungs(const AttentionProblem& x) {
  const AttentionShape& s = x.shape;
  INFO("B ", s.B, ", T ", s.T, ", S ", s.S, ", NH ", s.NH, ", NKV ", s.NKV, ", HS ", s.HS, ", causal ", s.causal,
       ", p ", x.p);
  const AttentionBounds<float> bounds(x);
  for (const Rung& rung : ladder::rungs()) {
    INFO(rung.name);
    AttentionProblem got = x;
    run(rung, got);
    bounds.for_each(got, [](const std::string& name, double error, double bound) {
      INFO(name);
      CHECK(error <= bound);
    });
  }
}

// Elements (token, c) of a result that are zero where the mask keeps, or not where it drops.
int wrong_elements(const AttentionProblem& x, const HeadArray& result, bool transposed) {
  int wrong = 0;
  for (int b = 0; b < x.shape.B; ++b) {
    for (int h = 0; h < x.shape.NH; ++h) {
      for (int t = 0; t < x.shape.T; ++t) {
        for (int c = 0; c < x.shape.T; ++c) {
          const int i = transposed ? c : t, j = transposed ? t : c;
          const bool kept = (!x.shape.causal || j <= i) && x.keeps(b, h, i, j);
          const float value = result.at(b, t, h)[c];
          wrong += (value != 0.0f) != kept || std::isnan(value);
        }
      }
    }
  }
  return wrong;
}

TEST_CASE("ladder: every rung agrees with double, small shapes") {
  RandomInputs inputs(20261127);
  INFO("seed ", inputs.seed);
  int turn = 0;
  for (const int T : {1, 17, 64, 65, 130}) {
    for (const bool causal : {true, false}) {
      const int NKV = 1 + turn % 2, HS = 8 * (1 + inputs.below(6));
      const float p = turn % 3 == 0 ? 0.0f : turn % 3 == 1 ? 0.1f : 0.5f;
      const Layout layout = turn % 2 ? Layout::packed : Layout::separate;
      check_rungs({attention_shape(1 + turn % 2, T, T, 2 * NKV, NKV, HS, causal), layout, p, inputs});
      ++turn;
    }
  }
}

TEST_CASE("ladder: with more keys than queries, small shapes") {
  RandomInputs inputs(20261128);
  INFO("seed ", inputs.seed);
  for (const bool causal : {true, false}) {
    check_rungs({attention_shape(2, 5, 70, 2, 1, 16, causal), Layout::separate, 0.0f, inputs});
    check_rungs({attention_shape(1, 66, 200, 2, 2, 8, causal), Layout::separate, 0.0f, inputs});
  }
}

// Equal scores: P is 1 / (keys seen). With V, dO identity matrices O is dropout(P), and dV its transpose.
TEST_CASE("ladder: every rung drops the elements of the mask, forward and backward") {
  RandomInputs inputs(20261129);
  INFO("seed ", inputs.seed);
  for (const int T : {40, 100}) {
    for (const float p : {0.1f, 0.5f}) {
      AttentionProblem x(attention_shape(2, T, T, 2, 2, 104, T == 100), Layout::packed, p, inputs);
      for (HeadArray* array : {&x.q, &x.k}) array->fill([](int, int) { return 0.0f; });
      for (HeadArray* array : {&x.v, &x.dout}) array->fill([](int t, int c) { return t == c ? 1.0f : 0.0f; });
      for (const Rung& rung : ladder::rungs()) {
        INFO(rung.name, ", T ", T, ", p ", p);
        AttentionProblem got = x;
        run(rung, got);
        CHECK(wrong_elements(got, got.out, false) == 0);
        CHECK(wrong_elements(got, got.dv, true) == 0);
      }
    }
  }
}

TEST_CASE("ladder: the definition in double is that of the tests") {
  RandomInputs inputs(20261130);
  INFO("seed ", inputs.seed);
  for (const float p : {0.0f, 0.2f}) {
    const AttentionProblem x(attention_shape(2, 19, 19, 4, 2, 16, p == 0.0f), Layout::packed, p, inputs);
    const TestSite site(x.p, x.rng, x.site);
    const AttentionResults<double> exact = plain_attention<double>(x);
    std::vector<double> scratch(ladder::attention_in_double_scratch(x.shape));
    // Into arrays in the oracle's order (B, heads, tokens, HS).
    const auto in_order = [&](std::vector<double>& values, int tokens, int heads) {
      values.assign(static_cast<size_t>(x.shape.B) * tokens * heads * x.shape.HS, std::nan(""));
      return HeadView<double>{values.data(), int64_t{tokens} * heads * x.shape.HS, x.shape.HS,
                              int64_t{tokens} * x.shape.HS};
    };
    std::vector<double> out, dq, dk, dv;
    const AttentionShape& s = x.shape;
    AttentionBackward<float> a;
    a.q = x.q.over(x.q.buffer.data()), a.k = x.k.over(x.k.buffer.data()), a.v = x.v.over(x.v.buffer.data());
    a.dout = x.dout.over(x.dout.buffer.data()), a.shape = s, a.dropout = site.dropout;
    ladder::attention_in_double(
        {in_order(out, s.T, s.NH), in_order(dq, s.T, s.NH), in_order(dk, s.S, s.NKV), in_order(dv, s.S, s.NKV)}, a,
        scratch.data());
    CHECK(worst_error(out, exact.out) < 1e-12);
    CHECK(worst_error(dq, exact.dq) < 1e-12);
    CHECK(worst_error(dk, exact.dk) < 1e-12);
    CHECK(worst_error(dv, exact.dv) < 1e-12);
  }
}

// By hand: T 128, HS 64, causal, one head. A row is 256 bytes, Q 32768; K is read 64 + 128 times a row; 8256 elements.
TEST_CASE("ladder: bytes and memory by formula") {
  const AttentionShape shape = attention_shape(1, 128, 128, 1, 1, 64, true);
  const auto& drawn = ladder::rungs()[6];
  const ladder::Traffic traffic = drawn.traffic(shape, true);
  CHECK(traffic.forward == 2 * 32768 + 2 * 192 * 256);
  CHECK(traffic.backward == 2 * 32768 + 4 * 32768 + 4 * 192 * 256);
  const auto& once = ladder::rungs()[4];
  CHECK(once.traffic(shape, true).forward == traffic.forward + 8256);
  CHECK(once.traffic(shape, false).forward == traffic.forward);
  const auto floats = [&](size_t rung, bool dropout) {
    return ladder::rungs()[rung].scratch(shape, dropout).all(shape);
  };
  CHECK(floats(0, false) == 2 * 128 * 128);                 // P, dP
  CHECK(floats(0, true) == 2 * 128 * 128 + 128 * 128 / 4);  // and a byte an element
  CHECK(floats(4, true) == 128 * 128 / 4 + 2 * 128);        // the bytes; two numbers a row
  CHECK(floats(5, true) == 128 * 128 / 4 / 8 + 2 * 128);    // bits
  CHECK(floats(6, true) == 2 * 128);                        // neither
}

}  // namespace
}  // namespace glint::test
