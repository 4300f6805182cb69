#include "kernels/gelu.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

template <typename Real>
Real gelu(Real x, Gelu kind) {
  if (kind == Gelu::erf) return x * std::erfc(-x * Real(M_SQRT1_2)) / 2;
  return x * (1 + std::tanh(Real(std::sqrt(M_2_PI)) * (x + Real(0.044715) * x * x * x))) / 2;
}

template <typename Real>
Real gelu_slope(Real x, Gelu kind) {
  if (kind == Gelu::erf) {
    return std::erfc(-x * Real(M_SQRT1_2)) / 2 + x * std::exp(-x * x / 2) * Real(M_2_SQRTPI * M_SQRT1_2 / 2);
  }
  const Real root = Real(std::sqrt(M_2_PI)), t = std::tanh(root * (x + Real(0.044715) * x * x * x));
  return (1 + t) / 2 + x * (1 - t * t) / 2 * root * (1 + 3 * Real(0.044715) * x * x);
}

template <typename Real, typename Function>
std::vector<Real> each(const std::vector<float>& x, const Function& function) {
  std::vector<Real> result;
  for (float value : x) result.push_back(function(static_cast<Real>(value)));
  return result;
}

}  // namespace

TEST_CASE("gelu agrees with the formula in double, and its backward with finite differences") {
  RandomInputs inputs(101);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    for (const size_t n : {1, 7, 8, 100, 20001}) {
      for (const int threads : {1, 2, 3}) {
        const std::vector<float> x = inputs.normal(n, 2.0f), ones(n, 1.0f);
        std::vector<float> out(n), dx(n);
        gelu_forward({.threads = threads}, out.data(), x.data(), n, kind);
        gelu_backward({.threads = threads}, dx.data(), ones.data(), x.data(), n, kind);
        check_as_good("forward", out, each<float>(x, [&](float v) { return gelu(v, kind); }),
                      each<double>(x, [&](double v) { return gelu(v, kind); }), 1.0);
        const auto slopes = each<double>(x, [&](double v) { return gelu_slope(v, kind); });
        check_gradient("slope", slopes,
                       each<double>(x, [&](double v) { return (gelu(v + 1e-5, kind) - gelu(v - 1e-5, kind)) / 2e-5; }));
        check_as_good("backward", dx, each<float>(x, [&](float v) { return gelu_slope(v, kind); }), slopes, 1.0);
      }
    }
  }
}

TEST_CASE("gelu backward multiplies by dout, also in place") {
  RandomInputs inputs(102);
  INFO("seed ", inputs.seed);
  const size_t n = 1003;
  const std::vector<float> x = inputs.normal(n), dout = inputs.normal(n), ones(n, 1.0f);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    std::vector<float> slope(n), dx(n), in_place = dout;
    gelu_backward({.threads = 2}, slope.data(), ones.data(), x.data(), n, kind);
    gelu_backward({.threads = 2}, dx.data(), dout.data(), x.data(), n, kind);
    gelu_backward({.threads = 2}, in_place.data(), in_place.data(), x.data(), n, kind);
    CHECK(same_bits(dx, in_place));
    for (size_t i = 0; i < n; ++i) CHECK(dx[i] == dout[i] * slope[i]);
  }
}

TEST_CASE("gelu far from zero is x or 0, and a NaN stays one") {
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    const std::vector<float> x = {-1e30f, -1e4f, -30.0f, -14.0f, 14.0f, 30.0f, 1e4f, 1e30f, std::nanf("")};
    const std::vector<float> ones(x.size(), 1.0f);
    std::vector<float> out(x.size()), slope(x.size());
    gelu_forward(CpuContext{}, out.data(), x.data(), x.size(), kind);
    gelu_backward(CpuContext{}, slope.data(), ones.data(), x.data(), x.size(), kind);
    for (size_t i = 0; i < 8; ++i) {
      INFO("x ", x[i]);
      CHECK(std::abs(out[i] - std::max(x[i], 0.0f)) <= 1e-7f * std::abs(x[i]) * (x[i] < 0.0f ? 1e-20f : 1.0f));
      CHECK(std::abs(slope[i] - (x[i] > 0.0f)) <= 5e-7f);
    }
    CHECK(std::isnan(out[8]));
    CHECK(std::isnan(slope[8]));
  }
}

}  // namespace glint::test
