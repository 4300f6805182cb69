#include "kernels/layernorm.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

template <typename Real>
struct Plain {
  std::vector<Real> out, mean, rstd;  // (rows, C), (rows), (rows)
};

template <typename Real>
Plain<Real> plain_forward(const std::vector<Real>& x, const std::vector<Real>& weight, const std::vector<Real>& bias,
                          const LayerNormShape& shape) {
  const size_t rows = static_cast<size_t>(shape.rows), C = static_cast<size_t>(shape.C);
  Plain<Real> r{std::vector<Real>(rows * C), std::vector<Real>(rows), std::vector<Real>(rows)};
  for (size_t row = 0; row < rows; ++row) {
    Real mean = 0, variance = 0;
    for (size_t c = 0; c < C; ++c) mean += x[row * C + c] / Real(C);
    for (size_t c = 0; c < C; ++c) variance += (x[row * C + c] - mean) * (x[row * C + c] - mean) / Real(C);
    const Real rstd = 1 / std::sqrt(variance + Real(shape.eps));
    for (size_t c = 0; c < C; ++c) r.out[row * C + c] = (x[row * C + c] - mean) * rstd * weight[c] + bias[c];
    r.mean[row] = mean;
    r.rstd[row] = rstd;
  }
  return r;
}

template <typename Real>
struct PlainGradients {
  std::vector<Real> dx, dweight, dbias;  // (rows, C), (C), (C)
};

template <typename Real>
PlainGradients<Real> plain_backward(const std::vector<Real>& dout, const std::vector<Real>& x,
                                    const std::vector<Real>& weight, const Plain<Real>& forward,
                                    const LayerNormShape& shape) {
  const size_t rows = static_cast<size_t>(shape.rows), C = static_cast<size_t>(shape.C);
  PlainGradients<Real> g{std::vector<Real>(rows * C), std::vector<Real>(C), std::vector<Real>(C)};
  for (size_t row = 0; row < rows; ++row) {
    const Real mean = forward.mean[row], rstd = forward.rstd[row];
    Real mean_w = 0, mean_wn = 0;
    for (size_t c = 0; c < C; ++c) {
      const Real n = (x[row * C + c] - mean) * rstd, d = dout[row * C + c];
      g.dweight[c] += d * n;
      g.dbias[c] += d;
      mean_w += d * weight[c] / Real(C);
      mean_wn += d * weight[c] * n / Real(C);
    }
    for (size_t c = 0; c < C; ++c) {
      const Real n = (x[row * C + c] - mean) * rstd;
      g.dx[row * C + c] = rstd * (dout[row * C + c] * weight[c] - mean_w - n * mean_wn);
    }
  }
  return g;
}

struct Case {
  LayerNormShape shape;
  std::vector<float> x, weight, bias, dout;

  Case(RandomInputs& inputs, int rows, int C) : shape{rows, C} {
    const size_t width = static_cast<size_t>(C), n = static_cast<size_t>(rows) * width;
    x = inputs.normal(n, 3.0f);
    for (float& value : x) value += 1.5f;  // a mean that must be taken off
    weight = inputs.normal(width);
    bias = inputs.normal(width);
    dout = inputs.normal(n);
  }
  template <typename Real>
  Plain<Real> forward() const {
    return plain_forward(convert<Real>(x), convert<Real>(weight), convert<Real>(bias), shape);
  }
  template <typename Real>
  PlainGradients<Real> backward() const {
    return plain_backward(convert<Real>(dout), convert<Real>(x), convert<Real>(weight), forward<Real>(), shape);
  }
};

struct KernelRun {
  std::vector<float> out, mean, rstd, dx, dweight, dbias;
};

KernelRun run(const Case& c, int threads, Write write, float before, bool with_bias = true) {
  const CpuContext ctx{.threads = threads};
  const size_t rows = static_cast<size_t>(c.shape.rows), C = static_cast<size_t>(c.shape.C);
  KernelRun r{std::vector<float>(rows * C),         std::vector<float>(rows),      std::vector<float>(rows),
              std::vector<float>(rows * C, before), std::vector<float>(C, before), std::vector<float>(C, before)};
  std::vector<float> scratch(layernorm_backward_scratch(ctx, c.shape), std::nanf(""));
  layernorm_forward(ctx, r.out.data(), r.mean.data(), r.rstd.data(), c.x.data(), c.weight.data(),
                    with_bias ? c.bias.data() : nullptr, c.shape);
  layernorm_backward(ctx, r.dx.data(), r.dweight.data(), with_bias ? r.dbias.data() : nullptr, c.dout.data(),
                     c.x.data(), r.mean.data(), r.rstd.data(), c.weight.data(), scratch.data(), c.shape, write, write);
  return r;
}

}  // namespace

TEST_CASE("layer norm agrees with double, forward and backward") {
  RandomInputs inputs(201);
  INFO("seed ", inputs.seed);
  for (const int rows : {1, 3, 64, 65, 200}) {
    for (const int C : {1, 5, 8, 31, 128, 200}) {
      for (const int threads : {1, 2, 3}) {
        INFO("rows ", rows, ", C ", C, ", threads ", threads);
        const Case c(inputs, rows, C);
        const auto exact = c.forward<double>();
        const auto plain = c.forward<float>();
        const KernelRun got = run(c, threads, Write::set, std::nanf(""));
        check_as_good("out", got.out, plain.out, exact.out);
        check_as_good("mean", got.mean, plain.mean, exact.mean);
        check_as_good("rstd", got.rstd, plain.rstd, exact.rstd);
        const auto exact_gradients = c.backward<double>();
        const auto plain_gradients = c.backward<float>();
        const double walk = rows / 4.0;  // a running sum of n random terms is off by about n/4 units in the end
        check_as_good("dx", got.dx, plain_gradients.dx, exact_gradients.dx, largest(exact.rstd));
        check_as_good("dweight", got.dweight, plain_gradients.dweight, exact_gradients.dweight, walk);
        check_as_good("dbias", got.dbias, plain_gradients.dbias, exact_gradients.dbias, walk);
        CHECK(same_bits(got.dx, run(c, threads, Write::set, 0.0f).dx));
        CHECK(same_bits(got.dweight, run(c, 1, Write::set, 0.0f).dweight));  // whatever the thread count
      }
    }
  }
}

TEST_CASE("the layer norm oracle's backward is the derivative of its forward") {
  RandomInputs inputs(202);
  INFO("seed ", inputs.seed);
  const Case c(inputs, 3, 10);
  const auto x = convert<double>(c.x), weight = convert<double>(c.weight), bias = convert<double>(c.bias);
  const auto dout = convert<double>(c.dout);
  const auto gradients = c.backward<double>();
  const auto loss = [&](const auto& a, const auto& w, const auto& b) {
    return dot(plain_forward(a, w, b, c.shape).out, dout);
  };
  check_gradient("dx", gradients.dx, finite_differences(x, [&](const auto& v) { return loss(v, weight, bias); }));
  check_gradient("dweight", gradients.dweight,
                 finite_differences(weight, [&](const auto& v) { return loss(x, v, bias); }));
  check_gradient("dbias", gradients.dbias, finite_differences(bias, [&](const auto& v) { return loss(x, weight, v); }));
}

TEST_CASE("layer norm adds to its gradients where told, and takes no bias") {
  RandomInputs inputs(203);
  INFO("seed ", inputs.seed);
  const Case c(inputs, 70, 24);
  const KernelRun set = run(c, 2, Write::set, 5.0f), added = run(c, 2, Write::add, 0.5f);
  const auto shifted = [](std::vector<float> values) {
    for (float& value : values) value += 0.5f;
    return values;
  };
  CHECK(worst_error(added.dx, convert<double>(shifted(set.dx))) < 1e-6);
  CHECK(worst_error(added.dweight, convert<double>(shifted(set.dweight))) < 1e-5);
  CHECK(worst_error(added.dbias, convert<double>(shifted(set.dbias))) < 1e-5);
  const KernelRun no_bias = run(c, 2, Write::set, 5.0f, false);
  CHECK(same_bits(no_bias.dx, set.dx));
  CHECK(same_bits(no_bias.dbias, std::vector<float>(24, 5.0f)));  // not touched
  for (size_t i = 0; i < set.out.size(); ++i)
    CHECK(no_bias.out[i] + c.bias[i % 24] == doctest::Approx(set.out[i]).epsilon(1e-5));
}

}  // namespace glint::test
