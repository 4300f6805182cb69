#include "kernels/gelu.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

template <typename Real>
Real gelu(Real x, Gelu kind) {
  if (kind == Gelu::erf) return x * std::erfc(-x * Real(M_SQRT1_2)) / 2;
  return x * (1 + std::tanh(Real(std::sqrt(M_2_PI)) * (x + Real(0.044715) * x * x * x))) / 2;
}

template <typename Real>
Real gelu_slope(Real x, Gelu kind) {
  if (kind == Gelu::erf)
    return std::erfc(-x * Real(M_SQRT1_2)) / 2 + x * std::exp(-x * x / 2) * Real(M_2_SQRTPI * M_SQRT1_2 / 2);
  const Real root = Real(std::sqrt(M_2_PI)), t = std::tanh(root * (x + Real(0.044715) * x * x * x));
  return (1 + t) / 2 + x * (1 - t * t) / 2 * root * (1 + 3 * Real(0.044715) * x * x);
}

template <typename Real>
struct Plain {
  std::vector<Real> out, dx;
  Plain(const std::vector<float>& x, const std::vector<float>& dout, Gelu kind) {
    for (size_t i = 0; i < x.size(); ++i) {
      out.push_back(gelu(static_cast<Real>(x[i]), kind));
      dx.push_back(static_cast<Real>(dout[i]) * gelu_slope(static_cast<Real>(x[i]), kind));
    }
  }
};

struct Results {
  std::vector<float> out, dx;
};

template <typename Scalar>
Results run(const std::vector<float>& x, const std::vector<float>& dout, Gelu kind, size_t offset,
            bool in_place = false) {
  const size_t n = x.size();
  const Guarded<Scalar> in(x, offset), gradient(dout, offset), out(n, offset), dx(n, offset);
  gelu_forward(kCuda, out.data(), static_cast<const Scalar*>(in.data()), n, kind);
  Scalar* to = in_place ? gradient.data() : dx.data();
  gelu_backward(kCuda, to, static_cast<const Scalar*>(gradient.data()), static_cast<const Scalar*>(in.data()), n, kind);
  return {out.values(), (in_place ? gradient : dx).values()};
}

template <typename Scalar>
Results run_cpu(const std::vector<float>& x, const std::vector<float>& dout, Gelu kind) {
  std::vector<Scalar> in, gradient, out(x.size()), dx(x.size());
  for (const float value : x) in.push_back(from_float_to<Scalar>(value));
  for (const float value : dout) gradient.push_back(from_float_to<Scalar>(value));
  gelu_forward(CpuContext{.threads = 2}, out.data(), in.data(), x.size(), kind);
  gelu_backward(CpuContext{.threads = 2}, dx.data(), gradient.data(), in.data(), x.size(), kind);
  Results r;
  for (const Scalar value : out) r.out.push_back(to_float(value));
  for (const Scalar value : dx) r.dx.push_back(to_float(value));
  return r;
}

template <typename Scalar>
void check(RandomInputs& inputs, size_t n, Gelu kind, size_t offset) {
  INFO("n ", n, ", tanh ", kind == Gelu::tanh, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto x = rounded<Scalar>(inputs.normal(n, 2.0f)), dout = rounded<Scalar>(inputs.normal(n));
  const Plain<float> plain(x, dout, kind);
  const Plain<double> exact(x, dout, kind);
  const double size = largest(convert<double>(dout));
  const Results got = run<Scalar>(x, dout, kind, offset), cpu = run_cpu<Scalar>(x, dout, kind);
  check_as_good_in<Scalar>("out", got.out, plain.out, exact.out, 1.0);
  check_as_good_in<Scalar>("dx", got.dx, plain.dx, exact.dx, size);
  check_as_good_in<Scalar>("out, CPU", cpu.out, plain.out, exact.out, 1.0);
  check_as_good_in<Scalar>("dx, CPU", cpu.dx, plain.dx, exact.dx, size);
  CHECK(same_bits(run<Scalar>(x, dout, kind, offset, true).dx, got.dx));
}

}  // namespace

TEST_CASE("cuda gelu: agrees with the formula in double, forward and backward, small shapes") {
  RandomInputs inputs(1101);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    for (const size_t n : {1, 3, 17, 64, 257, 5000}) {
      check<float>(inputs, n, kind, 0);
      check<Bf16>(inputs, n, kind, 0);
    }
    check<float>(inputs, 129, kind, 1);
    check<Bf16>(inputs, 129, kind, 3);
  }
}

TEST_CASE("cuda gelu: far from zero it is x or 0, and a NaN stays one") {
  const std::vector<float> x = {-1e30f, -1e4f, -30.0f, -14.0f, 14.0f, 30.0f, 1e4f, 1e30f, std::nanf("")};
  const std::vector<float> ones(x.size(), 1.0f);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    const Results got = run<float>(x, ones, kind, 0), got_bf16 = run<Bf16>(x, ones, kind, 0);
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
