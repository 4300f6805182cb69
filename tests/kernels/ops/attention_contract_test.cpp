// What the attention kernels promise besides accuracy: the same bits in every order of threads, nothing written outside
// of the results, clear refusals.
#include <doctest/doctest.h>

#include "tests/kernels/ops/attention_kernels.h"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

// On the CPU, gradients may depend on the number of threads; the output may not.
template <typename Scalar>
void check_orders(const Context& ctx, const AttentionProblem& start, uint64_t seeds) {
  INFO("HS ", start.shape.HS, ", bytes ", sizeof(Scalar));
  const auto run = [&](const Context& run_ctx) {
    AttentionProblem x = start;
    run_attention<Scalar>(run_ctx, x);
    return x;
  };
  const AttentionProblem first = run(ctx);
  in_every_order(
      [&](const Context& other) {
        const AttentionProblem x = run(kOnCpu ? other : ctx), again = kOnCpu ? run(other) : first;
        CHECK(same_bits(x.out.buffer, first.out.buffer));
        CHECK(same_bits(x.lse, first.lse));
        CHECK(same_bits(x.dq.buffer, again.dq.buffer));
        CHECK(same_bits(x.dk.buffer, again.dk.buffer));
        CHECK(same_bits(x.dv.buffer, again.dv.buffer));
      },
      seeds);
}

// Gaps between heads, and the rest of a packed buffer, stay as they were: NaN.
template <typename Scalar>
void check_untouched(const Context& ctx, AttentionProblem x) {
  x.round_inputs<Scalar>();
  run_attention<Scalar>(ctx, x);
  for (const HeadArray* array : {&x.out, &x.dq, &x.dk, &x.dv}) {
    const auto finite = [](const std::vector<float>& values) {
      return std::count_if(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    };
    CHECK(finite(array->buffer) == array->B * array->tokens * array->heads * array->HS);
    CHECK(finite(array->in_order()) == finite(array->buffer));
  }
}

template <typename Scalar>
void check_without_lse(const Context& ctx, AttentionProblem x) {
  AttentionProblem without = x;
  run_forward<Scalar>(ctx, x, Dropout{});
  run_forward<Scalar>(ctx, without, Dropout{}, false);
  CHECK(same_bits(without.out.buffer, x.out.buffer));
}

template <typename Scalar>
void check_large_scores(const Context& ctx, AttentionProblem x) {
  x.round_inputs<Scalar>();
  run_attention<Scalar>(ctx, x);
  for (const auto& values : {x.out.in_order(), x.lse, x.dq.in_order(), x.dk.in_order(), x.dv.in_order()}) {
    for (const float value : values) REQUIRE(std::isfinite(value));
  }
  if (!kOnCpu || sizeof(Scalar) == 2) return;
  const AttentionBounds<float> bounds(x);
  const auto check_close = [](const auto& got, const auto& plain, const auto& exact, double size) {
    CHECK(worst_error(got, exact) <= 2 * worst_error(plain, exact) + 8 * 0x1p-24 * size);
  };
  const double largest_lse = largest(bounds.exact.lse);  // a score's rounding is P's error
  check_close(x.out.in_order(), bounds.plain.out, bounds.exact.out, largest_lse * x.v.largest());
  check_close(x.lse, bounds.plain.lse, bounds.exact.lse, largest_lse);
}

template <typename Scalar, typename AnyContext>
void check_nan(const AnyContext& ctx, AttentionProblem x) {
  x.k.at(0, 70, 0)[3] = std::nanf("");
  run_forward<Scalar>(ctx, x, Dropout{});
  for (int i = 0; i < x.shape.T; ++i) {
    INFO("row ", i);
    CHECK(std::isnan(x.out.at(0, i, 0)[0]) == (i >= 70));
  }
}

template <typename Scalar, typename AnyContext>
void check_refusals(const AnyContext& ctx, const AttentionProblem& good) {
  const auto refuses = [&](int AttentionShape::*member, int value) {
    AttentionProblem bad = good;
    bad.shape.*member = value;
    const TestSite site(bad.p, bad.rng, bad.site);
    INFO("value ", value);
    CHECK_THROWS_AS(run_forward<Scalar>(ctx, bad, site.dropout), Error);
    CHECK_THROWS_AS(run_backward<Scalar>(ctx, bad, site.dropout), Error);
  };
  refuses(&AttentionShape::HS, 12);
  refuses(&AttentionShape::HS, 264);
  if (!kOnCpu) refuses(&AttentionShape::HS, 136);
  refuses(&AttentionShape::T, 0);
  refuses(&AttentionShape::S, 3);
  refuses(&AttentionShape::S, 5);  // more keys than queries: no dropout there
  refuses(&AttentionShape::NKV, 0);
  refuses(&AttentionShape::NKV, 3);
  AttentionProblem x = good;
  CHECK_NOTHROW(run_attention<Scalar>(ctx, x));
}

}  // namespace

TEST_CASE("attention: the same bits in every order of threads, small shapes") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261130);
  INFO("seed ", inputs.seed);
  for (const int T : {17, 40}) {
    const AttentionProblem x(attention_shape(1, T, T, 2, 1, 32, true), Layout::packed, 0.1f, inputs);
    check_orders<Bf16>(kernels.context(), x, 1);
    if (kernels.has_fp32()) check_orders<float>(kernels.context(), x, 1);
  }
}

TEST_CASE("attention: the same bits in every order of threads" * doctest::test_suite("large")) {
  const AttentionKernels kernels;
  RandomInputs inputs(20261131);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    const int T = kOnCpu ? 300 : 150;
    const AttentionProblem x(attention_shape(1, T, T, 2, 1, HS, HS % 64 != 0), Layout::separate, 0.1f, inputs);
    check_orders<Bf16>(kernels.context(), x, 3);
    if (kernels.has_fp32()) check_orders<float>(kernels.context(), x, 2);
  }
}

TEST_CASE("attention: writes its results and nothing else") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261132);
  INFO("seed ", inputs.seed);
  for (const Layout layout : {Layout::packed, Layout::separate}) {
    for (const int T : {1, 70}) {
      const AttentionProblem x(attention_shape(2, T, T, 2, 1, 24, true), layout, 0.1f, inputs);
      check_untouched<Bf16>(kernels.context(), x);
      if (kernels.has_fp32()) check_untouched<float>(kernels.context(), x);
    }
  }
}

TEST_CASE("attention: without a place for the log-sum-exp") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261133);
  INFO("seed ", inputs.seed);
  const AttentionProblem x(attention_shape(1, 33, 33, 1, 1, 64, true), Layout::packed, 0.0f, inputs);
  check_without_lse<Bf16>(kernels.context(), x);
  if (kernels.has_fp32()) check_without_lse<float>(kernels.context(), x);
}

TEST_CASE("attention: large scores neither overflow nor lose the largest") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261134);
  INFO("seed ", inputs.seed);
  AttentionProblem x(attention_shape(1, 100, 100, 1, 1, 16, true), Layout::packed, 0.0f, inputs);
  x.shape.scale = 1000.0f;  // the softmax all but picks one key
  check_large_scores<Bf16>(kernels.context(), x);
  if (kernels.has_fp32()) check_large_scores<float>(kernels.context(), x);
}

TEST_CASE("attention: a NaN stays one, in the rows that see it") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261135);
  INFO("seed ", inputs.seed);
  const AttentionProblem x(attention_shape(1, 90, 90, 1, 1, 32, true), Layout::separate, 0.0f, inputs);
  check_nan<Bf16>(kernels.context(), x);
  if (kernels.has_fp32()) check_nan<float>(kernels.context(), x);
  if (kOnCpu) check_nan<float>(ReferenceContext{}, x);
}

TEST_CASE("attention: refuses shapes that it cannot do") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261136);
  const AttentionProblem good(attention_shape(1, 4, 4, 2, 1, 32, true), Layout::separate, 0.1f, inputs);
  check_refusals<Bf16>(kernels.context(), good);
  if (kernels.has_fp32()) check_refusals<float>(kernels.context(), good);
  if (kOnCpu) check_refusals<float>(ReferenceContext{}, good);
  for (const float p : {1.0f, -0.1f, std::nanf("")}) CHECK_THROWS_AS((Dropout{p, &good.rng, 0}), Error);
}

}  // namespace glint::test
