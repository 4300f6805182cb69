#include "kernels/matmul.h"

#include <omp.h>

#ifndef GLINT_TEST_CUDA
#include "kernels/cpu/product.h"
#endif
#include "tests/kernels/ops/linear_oracle.h"

namespace glint::test {
namespace {

template <typename Scalar>
std::vector<float> run_forward(const Context& ctx, const LinearProblem& p, bool with_bias) {
  const Guarded<Scalar> x(p.x), weight(p.weight), bias(p.bias), out(p.dout.size());
  linear_forward(ctx, out.data(), static_cast<const Scalar*>(x.data()), static_cast<const Scalar*>(weight.data()),
                 with_bias ? static_cast<const Scalar*>(bias.data()) : nullptr, p.shape);
  return out.values();
}

template <typename Scalar>
LinearGradients<float> run_backward(const Context& ctx, const LinearProblem& p, Write write, bool with_bias = true) {
  const Guarded<Scalar> x(p.x), weight(p.weight), dout(p.dout), dx(p.x.size(), before(write), 0);
  const Guarded<float> dweight(p.weight.size(), before(write), 0), dbias(p.out(), before(write), 0);
  const Buffer<float> scratch(linear_backward_weight_scratch(ctx, p.shape));
  const Scalar* gradient = dout.data();
  linear_backward_input(ctx, dx.data(), gradient, static_cast<const Scalar*>(weight.data()), p.shape, write);
  linear_backward_weight(ctx, dweight.data(), with_bias ? dbias.data() : nullptr, static_cast<const Scalar*>(x.data()),
                         gradient, with_bias ? scratch.data() : nullptr, p.shape, write);
  return {dx.values(), dweight.values(), dbias.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, const LinearShape& shape) {
  INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out, ", tied ", shape.layout == WeightLayout::out_in,
       ", bytes ", sizeof(Scalar));
  const LinearProblem p = LinearProblem::of<Scalar>(inputs, shape), squared = p.squared();
  for (const bool with_bias : {false, true}) {
    const auto plain = p.forward<float>(with_bias);
    const auto exact = p.forward<double>(with_bias);
    const double terms = terms_of(squared.forward<double>(with_bias));
    // Where rows are no multiple of 16 bytes, cuBLASLt may round the product to bf16 before it adds the bias (13.1, on
    // an H100).
    std::vector<double> twice;
    if (!kOnCpu && sizeof(Scalar) == 2 && with_bias && shape.out % 8 != 0) {
      twice = p.forward<double>(false);
      for (double& value : twice) value = 0x1p-8 * std::abs(value);
    }
    for_each_matmul_context([&](const Context& ctx) {
      const auto got = run_forward<Scalar>(ctx, p, with_bias);
      check_as_good_in<Scalar>(with_bias ? "out" : "out, no bias", got, plain, exact, terms, twice);
      CHECK(same_bits(got, run_forward<Scalar>(ctx, p, with_bias)));
    });
  }
  for (const Write write : {Write::set, Write::add}) {
    const auto plain = p.backward<float>(base(write));
    const auto exact = p.backward<double>(base(write)), terms = squared.backward<double>(base(write) * base(write));
    for_each_matmul_context([&](const Context& ctx) {
      const auto got = run_backward<Scalar>(ctx, p, write), again = run_backward<Scalar>(ctx, p, write),
                 no_bias = run_backward<Scalar>(ctx, p, write, false);
      check_as_good_in<Scalar>("dx", got.dx, plain.dx, exact.dx, terms_of(terms.dx));
      check_as_good("dweight", got.dweight, plain.dweight, exact.dweight, terms_of(terms.dweight));
      check_as_good("dweight, no bias", no_bias.dweight, plain.dweight, exact.dweight, terms_of(terms.dweight));
      check_as_good("dbias", got.dbias, plain.dbias, exact.dbias, terms_of(terms.dbias));
      CHECK(
          (same_bits(got.dx, again.dx) && same_bits(got.dweight, again.dweight) && same_bits(got.dbias, again.dbias)));
    });
  }
}

void check_sizes(RandomInputs& inputs, const std::vector<LinearShape>& shapes) {
  for (LinearShape shape : shapes)
    for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
      shape.layout = layout;
      check<float>(inputs, shape);
      if (!kOnCpu || shape.rows < 100) check<Bf16>(inputs, shape);
    }
}

}  // namespace

TEST_CASE("matmul: linear layers agree with double, in every layout and by every engine, small shapes") {
  RandomInputs inputs(2501);
  INFO("seed ", inputs.seed);
  check_sizes(inputs, {{5, 8, 24}, {1, 16, 8}, {17, 24, 65}});
}

#ifndef GLINT_TEST_CUDA  // cuBLASLt's sizes are multiples of 8
TEST_CASE("matmul: linear layers of odd and of large sizes agree with double") {
  RandomInputs inputs(801);
  INFO("seed ", inputs.seed);
  check_sizes(inputs, {{1, 1, 1},
                       {1, 64, 48},
                       {1, 33, 1030},
                       {2, 5, 3},
                       {3, 17, 65},
                       {17, 64, 1},
                       {64, 1, 31},
                       {65, 40, 24},
                       {130, 65, 33},
                       {200, 128, 130},
                       {120, 200, 530}});  // the last: many tiles
}

TEST_CASE("matmul: a product leaves OpenMP's thread count as it was") {
  RandomInputs inputs(803);
  const auto p = LinearProblem::of<float>(inputs, {40, 40, 40});
  for (const MatmulEngine engine : {MatmulEngine::eigen, default_matmul_engine()}) {
    const int threads = omp_get_max_threads();
    run_forward<float>({.threads = threads + 1, .matmul = engine}, p, false);
    CHECK(omp_get_max_threads() == threads);
  }
}

#ifdef GLINT_WITH_ONEDNN
// |got - expected| up to one unit in the last place of Scalar, and rounding of an fp32 sum of `terms`.
template <typename Scalar>
void check_close(const char* what, const std::vector<float>& got, const std::vector<float>& expected, int terms) {
  INFO(what);
  for (size_t i = 0; i < got.size(); ++i) {
    const float unit = sizeof(Scalar) == 2 ? std::abs(expected[i]) * 0x1p-7f : 0.0f;
    CHECK(std::abs(got[i] - expected[i]) <= unit + 1e-6f * static_cast<float>(1 + terms));
  }
}

// Where the CPU has no instructions for bf16, both are products in fp32.
TEST_CASE("matmul: bf16 by oneDNN agrees with Eigen's fp32 products but for the last bit") {
  RandomInputs inputs(804);
  INFO("seed ", inputs.seed, ", bf16 products by oneDNN: ", cpu_multiplies_bf16());
  const CpuContext onednn{.threads = 2, .matmul = MatmulEngine::onednn}, eigen{};
  const LinearShape shapes[] = {{1, 1, 1},   {3, 17, 5},    {64, 1, 31},   {65, 40, 24},
                                {1, 64, 48}, {130, 65, 33}, {70, 200, 130}};
  for (LinearShape shape : shapes) {
    for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
      INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out, ", tied ", layout == WeightLayout::out_in);
      shape.layout = layout;
      const auto p = LinearProblem::of<Bf16>(inputs, shape);
      for (const bool with_bias : {false, true})
        check_close<Bf16>("out", run_forward<Bf16>(onednn, p, with_bias), run_forward<Bf16>(eigen, p, with_bias),
                          shape.in);
      const auto got = run_backward<Bf16>(onednn, p, Write::add), expected = run_backward<Bf16>(eigen, p, Write::add);
      check_close<Bf16>("dx", got.dx, expected.dx, shape.out);
      check_close<float>("dweight", got.dweight, expected.dweight, shape.rows);
      check_close<float>("dbias", got.dbias, expected.dbias, shape.rows);
    }
  }
}
#else
TEST_CASE("matmul: asking for oneDNN in a build without it is a user error") {
  RandomInputs inputs(804);
  const auto p = LinearProblem::of<float>(inputs, {2, 2, 2});
  CHECK_THROWS_AS(run_forward<float>({.matmul = MatmulEngine::onednn}, p, false), UserError);
}
#endif
#endif

TEST_CASE("matmul: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(802);
  INFO("seed ", inputs.seed);
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
    const auto p = LinearProblem::of<float>(inputs, {3, 4, 5, layout});
    const auto x = convert<double>(p.x), weight = convert<double>(p.weight), bias = convert<double>(p.bias);
    const auto dout = convert<double>(p.dout);
    const auto g = p.backward<double>(0.0);
    const auto loss = [&](const auto& a, const auto& w, const auto& b) { return dot(p.forward(a, w, b), dout); };
    check_gradient("dx", g.dx, finite_differences(x, [&](const auto& v) { return loss(v, weight, bias); }));
    check_gradient("dweight", g.dweight, finite_differences(weight, [&](const auto& v) { return loss(x, v, bias); }));
    check_gradient("dbias", g.dbias, finite_differences(bias, [&](const auto& v) { return loss(x, weight, v); }));
  }
}

}  // namespace glint::test
