// What the CUDA attention kernels promise besides accuracy: the same bits whatever the order of threads, nothing
// written outside the results, clear refusals.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "tests/kernels/cuda/attention_device.h"
#include "tests/kernels/cuda/emulation.h"

namespace glint {
namespace {

using test::Layout;
using test::Problem;
using test::RandomInputs;
using test::square_shape;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// No result may depend on which thread or block comes first.
template <typename Scalar>
void check_orders(const Problem& start, uint64_t seeds) {
  Problem first = start;
  test::run_kernels<Scalar>(first);
  simt::in_every_order(
      [&] {
        Problem x = start;
        test::run_kernels<Scalar>(x);
        CHECK(same_bits(x.out.buffer, first.out.buffer));
        CHECK(same_bits(x.lse, first.lse));
        CHECK(same_bits(x.dq.buffer, first.dq.buffer));
        CHECK(same_bits(x.dk.buffer, first.dk.buffer));
        CHECK(same_bits(x.dv.buffer, first.dv.buffer));
      },
      seeds);
}

TEST_CASE("cuda attention is bitwise repeatable in every order of threads: small shapes") {
  RandomInputs inputs(20261130);
  INFO("seed ", inputs.seed);
  for (const int T : {17, 40}) {
    const Problem x(square_shape(1, T, 2, 1, 32, true), Layout::packed, 0.1f, inputs);
    check_orders<Bf16>(x, 1);
    check_orders<float>(x, 1);
  }
}

TEST_CASE("cuda attention is bitwise repeatable in every order of threads" * doctest::test_suite("large")) {
  RandomInputs inputs(20261131);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    const Problem x(square_shape(1, 150, 2, 1, HS, HS % 64 != 0), Layout::separate, 0.1f, inputs);
    check_orders<Bf16>(x, 3);
    check_orders<float>(x, 2);
  }
}

// Gaps between heads, and the rest of a packed buffer, stay as they were: NaN.
template <typename Scalar>
void check_untouched(Problem& x) {
  test::run_kernels<Scalar>(x);
  const AttentionShape& s = x.shape;
  const auto finite = [](const std::vector<float>& values) {
    size_t n = 0;
    for (const float value : values) n += std::isfinite(value);
    return n;
  };
  const size_t queries = static_cast<size_t>(s.B) * s.T * s.NH * s.HS, keys = queries / s.NH * s.NKV;
  CHECK(finite(x.out.buffer) == queries);
  CHECK(finite(x.dq.buffer) == queries);
  CHECK(finite(x.dk.buffer) == keys);
  CHECK(finite(x.dv.buffer) == keys);
}

TEST_CASE("cuda attention writes its results and nothing else") {
  RandomInputs inputs(20261132);
  INFO("seed ", inputs.seed);
  for (const Layout layout : {Layout::packed, Layout::separate}) {
    for (const int T : {1, 37}) {
      Problem x(square_shape(2, T, 2, 1, 64, true), layout, 0.1f, inputs), y = x;
      check_untouched<Bf16>(x);
      check_untouched<float>(y);
    }
  }
}

TEST_CASE("cuda attention without a place for the log-sum-exp") {
  RandomInputs inputs(20261133);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 33, 1, 1, 64, true), Layout::packed, 0.0f, inputs);
  test::run_forward<Bf16>(x, Dropout{});
  test::DeviceArray<Bf16> q(x.q), k(x.k), v(x.v), out(x.out);
  attention_forward(
      CudaContext{},
      AttentionForward<Bf16>{.out = out.view(), .q = q.view(), .k = k.view(), .v = v.view(), .shape = x.shape});
  test::Array without = x.out;
  out.copy_to(without);
  CHECK(same_bits(without.buffer, x.out.buffer));
}

TEST_CASE("cuda attention: large scores neither overflow nor lose the row") {
  RandomInputs inputs(20261134);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 70, 1, 1, 32, true), Layout::packed, 0.0f, inputs);
  x.shape.scale = 1000.0f;  // the softmax all but picks one key
  test::run_kernels<Bf16>(x);
  for (const auto& values : {in_order(x.out, 1, 1, 70, 32), x.lse, in_order(x.dq, 1, 1, 70, 32),
                             in_order(x.dk, 1, 1, 70, 32), in_order(x.dv, 1, 1, 70, 32)}) {
    for (const float value : values) REQUIRE(std::isfinite(value));
  }
}

TEST_CASE("cuda attention: a NaN stays one, in the rows that see it") {
  RandomInputs inputs(20261135);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 90, 1, 1, 32, true), Layout::separate, 0.0f, inputs), y = x;
  for (Problem* p : {&x, &y}) p->k.view().at(0, 70, 0)[3] = std::numeric_limits<float>::quiet_NaN();
  test::run_forward<Bf16>(x, Dropout{});
  test::run_forward<float>(y, Dropout{});
  for (int i = 0; i < 90; ++i) {
    INFO("row ", i);
    CHECK(std::isnan(x.out.view().at(0, i, 0)[0]) == (i >= 70));
    CHECK(std::isnan(y.out.view().at(0, i, 0)[0]) == (i >= 70));
  }
}

TEST_CASE("cuda attention refuses shapes that it cannot do") {
  RandomInputs inputs(20261136);
  Problem good(square_shape(1, 4, 2, 1, 32, true), Layout::separate, 0.1f, inputs);
  const auto refuses = [&](auto change) {
    Problem bad = good;
    change(bad);
    CHECK_THROWS_AS(test::run_forward<Bf16>(bad, test::DeviceDropout(bad).get()), Error);
    CHECK_THROWS_AS(test::run_backward<Bf16>(bad, test::DeviceDropout(bad).get()), Error);
    CHECK_THROWS_AS(test::run_forward<float>(bad, test::DeviceDropout(bad).get()), Error);
    CHECK_THROWS_AS(test::run_backward<float>(bad, test::DeviceDropout(bad).get()), Error);
  };
  refuses([](Problem& p) { p.shape.HS = 12; });
  refuses([](Problem& p) { p.shape.HS = 264; });
  refuses([](Problem& p) { p.shape.T = 0; });
  refuses([](Problem& p) { p.shape.S = 3; });
  refuses([](Problem& p) { p.shape.NKV = 0; });
  refuses([](Problem& p) { p.shape.NKV = 3; });
  refuses([](Problem& p) { p.dropout.p = 1.0f; });
  refuses([](Problem& p) { p.dropout.p = -0.1f; });
  refuses([](Problem& p) { p.dropout.p = std::numeric_limits<float>::quiet_NaN(); });
  CHECK_NOTHROW(test::run_kernels<Bf16>(good));
}

}  // namespace
}  // namespace glint
