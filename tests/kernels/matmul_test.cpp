#include "kernels/matmul.h"

#include <omp.h>

#include "kernels/check.h"
#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

std::vector<MatmulEngine> engines() {
#ifdef GLINT_WITH_ONEDNN
  return {MatmulEngine::eigen, MatmulEngine::onednn};
#else
  return {MatmulEngine::eigen};
#endif
}

struct Case {
  LinearShape shape;
  std::vector<float> x, weight, bias, dout;  // (rows, in), (in, out) or (out, in), (out), (rows, out)

  Case(RandomInputs& inputs, const LinearShape& s) : shape(s) {
    x = inputs.normal(rows() * in());
    weight = inputs.normal(in() * out());
    bias = inputs.normal(out());
    dout = inputs.normal(rows() * out());
  }
  size_t rows() const { return static_cast<size_t>(shape.rows); }
  size_t in() const { return static_cast<size_t>(shape.in); }
  size_t out() const { return static_cast<size_t>(shape.out); }
  // Every factor squared: products with it are the sums of the squares of the terms.
  Case squared() const {
    Case c = *this;
    for (auto* values : {&c.x, &c.weight, &c.bias, &c.dout})
      for (float& value : *values) value *= value;
    return c;
  }
  size_t at(size_t i, size_t o) const { return shape.layout == WeightLayout::in_out ? i * out() + o : o * in() + i; }
};

template <typename Real>
std::vector<Real> plain_forward(const Case& c, const std::vector<Real>& x, const std::vector<Real>& w,
                                const std::vector<Real>& b) {
  std::vector<Real> out;
  const size_t step = c.at(1, 0);
  for (size_t r = 0; r < c.rows(); ++r)
    for (size_t o = 0; o < c.out(); ++o) {
      Real total = b.empty() ? Real(0) : b[o];
      const Real *row = &x[r * c.in()], *column = &w[c.at(0, o)];
      for (size_t i = 0; i < c.in(); ++i) total += row[i] * column[i * step];
      out.push_back(total);
    }
  return out;
}

template <typename Real>
struct Gradients {
  std::vector<Real> dx, dweight, dbias;

  Gradients(const Case& c, Real before)
      : dx(c.rows() * c.in(), before), dweight(c.in() * c.out(), before), dbias(c.out(), before) {}
};

template <typename Real>
Gradients<Real> plain_backward(const Case& c, Real before) {
  Gradients<Real> g(c, before);
  const std::vector<Real> weight = convert<Real>(c.weight), x = convert<Real>(c.x);
  const size_t step = c.at(1, 0);
  for (size_t r = 0; r < c.rows(); ++r)
    for (size_t o = 0; o < c.out(); ++o) {
      const Real d = c.dout[r * c.out() + o], *row = &x[r * c.in()], *column = &weight[c.at(0, o)];
      Real *dx = &g.dx[r * c.in()], *dcolumn = &g.dweight[c.at(0, o)];
      g.dbias[o] += d;
      for (size_t i = 0; i < c.in(); ++i) {
        dx[i] += d * column[i * step];
        dcolumn[i * step] += d * row[i];
      }
    }
  return g;
}

std::vector<float> run_forward(const CpuContext& ctx, const Case& c, bool with_bias) {
  std::vector<float> out(c.rows() * c.out(), std::nanf(""));
  linear_forward(ctx, out.data(), c.x.data(), c.weight.data(), with_bias ? c.bias.data() : nullptr, c.shape);
  return out;
}

Gradients<float> run_backward(const CpuContext& ctx, const Case& c, Write write) {
  Gradients<float> g(c, write == Write::set ? std::nanf("") : 0.5f);
  linear_backward_input(ctx, g.dx.data(), c.dout.data(), c.weight.data(), c.shape, write);
  linear_backward_weight(ctx, g.dweight.data(), g.dbias.data(), c.x.data(), c.dout.data(), nullptr, c.shape, write);
  return g;
}

void check_forward(const Case& c, const std::vector<CpuContext>& contexts, bool with_bias) {
  const std::vector<float> none;
  const auto plain = [&]<typename Real>(const Case& of, Real) {
    return plain_forward(of, convert<Real>(of.x), convert<Real>(of.weight), convert<Real>(with_bias ? of.bias : none));
  };
  const std::vector<float> single = plain(c, 0.0f);
  const std::vector<double> exact = plain(c, 0.0);
  const double terms = std::sqrt(largest(plain(c.squared(), 0.0)));
  for (const CpuContext& ctx : contexts) {
    INFO("engine ", static_cast<int>(ctx.matmul), ", threads ", ctx.threads);
    const std::vector<float> out = run_forward(ctx, c, with_bias);
    check_as_good("out", out, single, exact, terms);
    CHECK(same_bits(out, run_forward(ctx, c, with_bias)));
  }
}

void check_backward(const Case& c, const std::vector<CpuContext>& contexts, Write write) {
  const float before = write == Write::set ? 0.0f : 0.5f;
  const Gradients<float> plain = plain_backward<float>(c, before);
  const Gradients<double> exact = plain_backward<double>(c, before),
                          terms = plain_backward<double>(c.squared(), before * before);
  for (const CpuContext& ctx : contexts) {
    INFO("engine ", static_cast<int>(ctx.matmul), ", threads ", ctx.threads);
    const Gradients<float> got = run_backward(ctx, c, write), again = run_backward(ctx, c, write);
    check_as_good("dx", got.dx, plain.dx, exact.dx, std::sqrt(largest(terms.dx)));
    check_as_good("dweight", got.dweight, plain.dweight, exact.dweight, std::sqrt(largest(terms.dweight)));
    check_as_good("dbias", got.dbias, plain.dbias, exact.dbias, std::sqrt(largest(terms.dbias)));
    CHECK((same_bits(got.dx, again.dx) && same_bits(got.dweight, again.dweight) && same_bits(got.dbias, again.dbias)));
  }
}

// Every engine, layout and thread count.
void check_sizes(RandomInputs& inputs, int rows, int in, int out) {
  std::vector<CpuContext> contexts;
  for (const MatmulEngine engine : engines())
    for (const int threads : {1, 2, 3}) contexts.push_back({.threads = threads, .matmul = engine});
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
    INFO("rows ", rows, ", in ", in, ", out ", out, ", layout ", static_cast<int>(layout));
    const Case c(inputs, {rows, in, out, layout});
    for (const bool with_bias : {false, true}) check_forward(c, contexts, with_bias);
    for (const Write write : {Write::set, Write::add}) check_backward(c, contexts, write);
  }
}

}  // namespace

TEST_CASE("linear layers agree with double, by every engine, layout and thread count") {
  RandomInputs inputs(801);
  INFO("seed ", inputs.seed);
  const int sizes[][3] = {
      {1, 1, 1},   {1, 64, 48},  {1, 33, 1030}, {2, 5, 3},       {3, 17, 65},    {17, 64, 1},
      {64, 1, 31}, {65, 40, 24}, {130, 65, 33}, {200, 128, 130}, {120, 200, 530}};  // the last: many tiles
  for (const auto& size : sizes) check_sizes(inputs, size[0], size[1], size[2]);
}

TEST_CASE("the linear oracle's backward is the derivative of its forward") {
  RandomInputs inputs(802);
  INFO("seed ", inputs.seed);
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
    const Case c(inputs, {3, 4, 5, layout});
    const auto x = convert<double>(c.x), weight = convert<double>(c.weight), bias = convert<double>(c.bias);
    const auto dout = convert<double>(c.dout);
    const Gradients<double> g = plain_backward<double>(c, 0.0);
    check_gradient("dx", g.dx,
                   finite_differences(x, [&](const auto& v) { return dot(plain_forward(c, v, weight, bias), dout); }));
    check_gradient("dweight", g.dweight,
                   finite_differences(weight, [&](const auto& v) { return dot(plain_forward(c, x, v, bias), dout); }));
    check_gradient("dbias", g.dbias,
                   finite_differences(bias, [&](const auto& v) { return dot(plain_forward(c, x, weight, v), dout); }));
  }
}

TEST_CASE("a product leaves OpenMP's thread count as it was") {
  RandomInputs inputs(803);
  const Case c(inputs, {40, 40, 40});
  for (const MatmulEngine engine : engines()) {
    const int before = omp_get_max_threads();
    run_forward({.threads = before + 1, .matmul = engine}, c, false);
    CHECK(omp_get_max_threads() == before);
  }
}

#ifndef GLINT_WITH_ONEDNN
TEST_CASE("asking for oneDNN in a build without it is the user's error") {
  RandomInputs inputs(804);
  const Case c(inputs, {2, 2, 2});
  CHECK_THROWS_AS(run_forward({.matmul = MatmulEngine::onednn}, c, false), UserError);
}
#endif

}  // namespace glint::test
