#include "tests/kernels/ops/gelu_oracle.h"

namespace glint::test {
namespace {

struct Results {
  std::vector<float> out, dx;
};

template <typename Scalar>
Results run(const Context& ctx, const std::vector<float>& x, const std::vector<float>& dout, Gelu kind,
            size_t offset = 0, bool in_place = false) {
  const size_t n = x.size();
  const Guarded<Scalar> in(x, offset), gradient(dout, offset), out(n, offset), dx(n, offset);
  const Guarded<Scalar>& to = in_place ? gradient : dx;
  gelu_forward<Scalar>(ctx, out.data(), in.data(), n, kind);
  gelu_backward<Scalar>(ctx, to.data(), gradient.data(), in.data(), n, kind);
  return {out.values(), to.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, size_t n, Gelu kind, size_t offset = 0) {
  INFO("n ", n, ", tanh ", kind == Gelu::tanh, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto x = rounded<Scalar>(inputs.normal(n, 2.0f)), dout = rounded<Scalar>(inputs.normal(n));
  const std::vector<float> ones(n, 1.0f);
  const PlainGelu<float> plain(x, dout, kind), plain_slope(x, ones, kind);
  const PlainGelu<double> exact(convert<double>(x), convert<double>(dout), kind),
      exact_slope(convert<double>(x), convert<double>(ones), kind);
  for_each_context([&](const Context& ctx) {
    const Results got = run<Scalar>(ctx, x, dout, kind, offset), slope = run<Scalar>(ctx, x, ones, kind, offset);
    check_as_good_in<Scalar>("out", got.out, plain.out, exact.out, 1.0);
    check_as_good_in<Scalar>("dx", got.dx, plain.dx, exact.dx, largest(convert<double>(dout)));
    check_as_good_in<Scalar>("slope", slope.dx, plain_slope.dx, exact_slope.dx, 1.0);
    CHECK(same_bits(run<Scalar>(ctx, x, dout, kind, offset, true).dx, got.dx));
    if (sizeof(Scalar) == 4) {
      for (size_t i = 0; i < n; ++i) CHECK(got.dx[i] == dout[i] * slope.dx[i]);
    } else if (kOnCpu) {
      const Results fp32 = run<float>(ctx, x, dout, kind, offset);
      check_rounded_once("out", got.out, fp32.out);
      check_rounded_once("dx", got.dx, fp32.dx);
    }
  });
}

}  // namespace

TEST_CASE("gelu: agrees with the formula in double, forward and backward, small shapes") {
  RandomInputs inputs(1101);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    for (const size_t n : {1, 3, 7, 8, 17, 64, 100, 257, 5000}) {
      check<float>(inputs, n, kind);
      check<Bf16>(inputs, n, kind);
    }
    check<float>(inputs, 129, kind, 1);
    check<Bf16>(inputs, 129, kind, 3);
  }
}

TEST_CASE("gelu: agrees with the formula in double, many elements") {
  RandomInputs inputs(101);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) check<float>(inputs, 20001, kind);
}

TEST_CASE("gelu: the oracle's slope is its derivative") {
  RandomInputs inputs(102);
  INFO("seed ", inputs.seed);
  const auto x = convert<double>(inputs.normal(1000, 2.0f));
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    std::vector<double> slopes, differences;
    for (const double v : x) {
      slopes.push_back(gelu_slope(v, kind));
      differences.push_back((gelu(v + 1e-5, kind) - gelu(v - 1e-5, kind)) / 2e-5);
    }
    check_gradient("slope", slopes, differences);
  }
}

TEST_CASE("gelu: far from zero it is x or 0, and a NaN stays one") {
  const std::vector<float> x = {-1e30f, -1e4f, -30.0f, -14.0f, 14.0f, 30.0f, 1e4f, 1e30f, std::nanf("")};
  const std::vector<float> ones(x.size(), 1.0f);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    const Results got = run<float>({}, x, ones, kind), got_bf16 = run<Bf16>({}, x, ones, kind);
    for (size_t i = 0; i < 8; ++i) {
      INFO("x ", x[i]);
      CHECK(std::abs(got.out[i] - std::max(x[i], 0.0f)) <= 1e-7f * std::abs(x[i]) * (x[i] < 0.0f ? 1e-20f : 1.0f));
      CHECK(std::abs(got.dx[i] - (x[i] > 0.0f)) <= 5e-7f);
      CHECK(got_bf16.dx[i] == doctest::Approx(x[i] > 0.0f).epsilon(1e-6));
    }
    for (const Results& r : {got, got_bf16}) {
      CHECK(std::isnan(r.out[8]));
      CHECK(std::isnan(r.dx[8]));
    }
  }
}

}  // namespace glint::test
