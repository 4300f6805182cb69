#include "src/measure/attention_error.h"

#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace glint;

namespace {

// Two sequences with grouped queries.
AttentionCase grouped(float p) {
  return random_attention_case({.B = 2, .T = 70, .S = 70, .NH = 4, .NKV = 2, .HS = 24, .causal = true, .scale = 0.2f},
                               p, 20261127);
}
std::vector<double> list_of(const AttentionErrors& e) { return {e.out, e.dq, e.dk, e.dv}; }

}  // namespace

TEST_CASE("attention's errors against double: fp32 rounds to 24 bits, bf16 to 8") {
  for (const float p : {0.0f, 0.3f}) {
    INFO("p ", p);
    const AttentionCase x = grouped(p);
    const auto exact = run_in_double(x);
    for (const AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
      for (const double error : list_of(errors_of(run_attention(CpuContext{2}, DType::f32, kind, x), exact))) {
        CHECK(error > 0x1p-27);
        CHECK(error < 0x1p-20);
      }
    }
    const AttentionCase rounded = rounded_to_bf16(x);
    const auto in_bf16 = run_attention(CpuContext{}, DType::bf16, AttentionKind::flash, rounded);
    const auto kernel = list_of(errors_of(in_bf16, run_in_double(rounded))),
               with_inputs = list_of(errors_of(in_bf16, exact)), best = list_of(errors_of_bf16(exact)),
               plain = list_of(errors_of(run_plain_bf16(x), run_in_double(rounded)));
    for (size_t n = 0; n < 4; ++n) {
      CHECK(best[n] > 0x1p-11);
      CHECK(best[n] < 0x1p-8);
      CHECK(kernel[n] > 0.9 * best[n]);
      CHECK(kernel[n] < 3 * best[n]);
      CHECK(plain[n] > 0.9 * best[n]);
      CHECK(plain[n] < 10 * best[n]);
      CHECK(with_inputs[n] > kernel[n]);
    }
  }
}

TEST_CASE("attention's errors: rungs of the ladder, and wrong results are seen") {
  AttentionCase x = random_attention_case(
      {.B = 1, .T = 70, .S = 70, .NH = 2, .NKV = 2, .HS = 24, .causal = true, .scale = 0.2f}, 0.3f, 1);
  const auto exact = run_in_double(x);
  for (const ladder::Rung& rung : ladder::rungs())
    for (const double error : list_of(errors_of(run_rung(rung, x), exact))) CHECK(error < 0x1p-20);
  auto wrong = run_rung(ladder::rungs()[0], x);
  wrong.dk[5] += 1;
  CHECK(errors_of(wrong, exact).dk > 1e-3);
  x.rng.offset = 32;  // another mask
  CHECK(errors_of(run_rung(ladder::rungs()[0], x), exact).out > 0.1);
  CHECK(relative_error({3, 4}, {0, 4}) == doctest::Approx(0.75));
  CHECK(relative_error({0, 0}, {0, 0}) == 0);
}

TEST_CASE("attention with its keys in another order is the same but for rounding") {
  AttentionCase x = random_attention_case(
      {.B = 1, .T = 70, .S = 70, .NH = 4, .NKV = 2, .HS = 24, .causal = false, .scale = 0.2f}, 0, 1);
  const auto exact = run_in_double(x);
  const auto order = random_order(70, 3);
  const auto run = [](const AttentionCase& inputs) {
    return run_attention(CpuContext{}, DType::f32, AttentionKind::flash, inputs);
  };
  const auto shuffled = run(with_keys_in(x, order));
  CHECK(errors_of(shuffled, exact).dk > 0.1);  // not put back
  for (const double error : list_of(errors_of(in_order(shuffled, x, order), exact))) CHECK(error < 0x1p-20);
  CHECK_FALSE(in_order(shuffled, x, order) == run(x));
}
