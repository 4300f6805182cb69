#include "kernels/layernorm.h"

#include "tests/kernels/ops/layernorm_oracle.h"

namespace glint::test {
namespace {

struct Results {
  LayerNormResults norm;
  std::vector<float> dx;
};

struct Options {
  Write write = Write::set;
  float before = std::nanf("");
  bool with_bias = true;
  size_t offset = 0;
};

template <typename Scalar>
Results run(const Context& ctx, const LayerNormProblem& p, const Options& options = {}) {
  const auto& [write, before, with_bias, offset] = options;
  const size_t rows = static_cast<size_t>(p.shape.rows), C = static_cast<size_t>(p.shape.C);
  const Guarded<Scalar> x(p.x, offset), dout(p.dout, offset), out(p.x.size(), offset), dx(p.x.size(), before, offset);
  const Guarded<float> weight(p.weight, offset), bias(p.bias, offset), mean(rows, offset), rstd(rows, offset);
  const Guarded<float> dweight(C, before, offset), dbias(C, before, offset);
  const Guarded<float> scratch(layernorm_backward_scratch(ctx, p.shape));
  float* const means = p.rms ? nullptr : mean.data();
  layernorm_forward<Scalar>(ctx, out.data(), means, rstd.data(), x.data(), weight.data(),
                            with_bias ? bias.data() : nullptr, p.shape);
  layernorm_backward<Scalar>(ctx, dx.data(), dweight.data(), with_bias ? dbias.data() : nullptr, dout.data(), x.data(),
                             means, rstd.data(), weight.data(), scratch.data(), p.shape, write, write);
  scratch.values();
  return {{p, mean, out.values(), rstd.values(), dweight.values(), dbias.values()}, dx.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, int rows, int C, size_t offset = 0, bool rms = false) {
  INFO("rms ", rms, ", rows ", rows, ", C ", C, ", offset ", offset, ", bytes ", sizeof(Scalar));
  LayerNormProblem p(inputs, rows, C, rms);
  p.x = rounded<Scalar>(p.x);
  p.dout = rounded<Scalar>(p.dout);
  const auto exact = p.plain<double>();
  const auto plain = p.plain<float>();
  for_each_context([&](const Context& ctx) {
    const Results got = run<Scalar>(ctx, p, {.offset = offset});
    check_layernorm<Scalar>(got.norm, plain, exact);
    check_as_good_in<Scalar>("dx", got.dx, plain.dx, exact.dx, largest(exact.rstd));
  });
}

}  // namespace

TEST_CASE("layernorm: agrees with double, forward and backward, small shapes") {
  RandomInputs inputs(1201);
  INFO("seed ", inputs.seed);
  for (const int C : {1, 3, 5, 8, 17, 31, 63, 64, 65, 129, 257}) {
    for (const int rows : {1, 3, 17}) {
      check<float>(inputs, rows, C);
      check<Bf16>(inputs, rows, C);
    }
  }
  check<float>(inputs, 9, 64, 1);
  check<Bf16>(inputs, 9, 64, 3);
}

TEST_CASE("rmsnorm: agrees with double, forward and backward, small shapes") {
  RandomInputs inputs(1205);
  INFO("seed ", inputs.seed);
  for (const int C : {1, 5, 8, 64, 65, 129}) {
    for (const int rows : {1, 17}) {
      check<float>(inputs, rows, C, 0, true);
      check<Bf16>(inputs, rows, C, 0, true);
    }
  }
  check<Bf16>(inputs, 9, 64, 3, true);
}

TEST_CASE("rmsnorm: wide rows, and many") {
  RandomInputs inputs(1206);
  INFO("seed ", inputs.seed);
  for (const int C : {768, 1025, 1600, 6144}) {
    check<float>(inputs, 9, C, 0, true);
    check<Bf16>(inputs, 9, C, 0, true);
  }
  check<float>(inputs, 200, 31, 0, true);
  check<Bf16>(inputs, 4096 + 277, 8, 0, true);
}

TEST_CASE("layernorm: wide rows, and many") {
  RandomInputs inputs(1202);
  INFO("seed ", inputs.seed);
  for (const int C : {384, 768, 1000, 1024, 1025, 1600, 2500, 5001, 6144}) {  // on a GPU, rows of 1 to 12 warps
    check<float>(inputs, 9, C);
    check<Bf16>(inputs, 9, C);
  }
  for (const int rows : {64, 65, 200}) {
    for (const int C : {1, 8, 31, 128, 200}) check<float>(inputs, rows, C);
  }
  check<float>(inputs, 4096 + 277, 5);  // more than the blocks of a GPU's backward take in one round
  check<Bf16>(inputs, 4096 + 277, 8);
}

TEST_CASE("layernorm: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(202);
  INFO("seed ", inputs.seed);
  for (const bool rms : {false, true}) {
    const LayerNormProblem p(inputs, 3, 10, rms);
    const auto x = convert<double>(p.x), weight = convert<double>(p.weight), bias = convert<double>(p.bias);
    const auto dout = convert<double>(p.dout);
    const auto exact = p.plain<double>();
    const auto loss = [&](const auto& a, const auto& w, const auto& b) {
      return dot(PlainLayerNorm<double>(a, w, b, dout, p.shape, rms).out, dout);
    };
    check_gradient("dx", exact.dx, finite_differences(x, [&](const auto& v) { return loss(v, weight, bias); }));
    check_gradient("dweight", exact.dweight,
                   finite_differences(weight, [&](const auto& v) { return loss(x, v, bias); }));
    check_gradient("dbias", exact.dbias, finite_differences(bias, [&](const auto& v) { return loss(x, weight, v); }));
  }
}

TEST_CASE("layernorm: adds to gradients, works without a bias, and gives the same bits in every order") {
  RandomInputs inputs(1203);
  INFO("seed ", inputs.seed);
  const auto plus_half = [](std::vector<float> values) {
    for (float& value : values) value += 0.5f;
    return convert<double>(values);
  };
  for (const auto& [rows, C, rms] : {std::tuple{70, 72, false}, {21, 1100, false}, {21, 1104, true}}) {
    const LayerNormProblem p(inputs, rows, C, rms);
    const Results set = run<float>({}, p), added = run<float>({}, p, {Write::add, 0.5f});
    CHECK(worst_error(added.dx, plus_half(set.dx)) < 1e-6);
    CHECK(worst_error(added.norm.dweight, plus_half(set.norm.dweight)) < 1e-5);
    CHECK(worst_error(added.norm.dbias, plus_half(set.norm.dbias)) < 1e-5);
    const Results no_bias = run<float>({}, p, {Write::set, 5.0f, false});
    CHECK(same_bits(no_bias.dx, set.dx));
    CHECK(no_bias.norm.dbias == std::vector<float>(p.bias.size(), 5.0f));  // not touched
    check_as_good("out", no_bias.norm.out, p.plain<float>(false).out, p.plain<double>(false).out);
    in_every_order(
        [&](const Context& ctx) {
          const Results again = run<float>(ctx, p);
          CHECK(again.norm == set.norm);
          CHECK(same_bits(again.dx, set.dx));
        },
        2);
  }
}

#ifndef GLINT_TEST_CUDA
TEST_CASE("layernorm: bf16 rounds the fp32 results once") {
  RandomInputs inputs(901);
  INFO("seed ", inputs.seed);
  for (const int C : {7, 64, 131}) {
    LayerNormProblem p(inputs, 30, C);
    p.x = rounded<Bf16>(p.x);
    p.dout = rounded<Bf16>(p.dout);
    for (const Write write : {Write::set, Write::add}) {
      INFO("C ", C, ", add ", write == Write::add);
      const Options options{write, before(write)};
      const Results bf16 = run<Bf16>({}, p, options), fp32 = run<float>({}, p, options);
      check_rounded_once("out", bf16.norm.out, fp32.norm.out);
      check_rounded_once("dx", bf16.dx, fp32.dx);
      CHECK(worst_error(bf16.norm.mean, convert<double>(fp32.norm.mean)) <= 1e-5);
      CHECK(worst_error(bf16.norm.dweight, convert<double>(fp32.norm.dweight)) <= 1e-4);
      CHECK(same_bits(bf16.norm.dbias, fp32.norm.dbias));
    }
  }
}
#endif

TEST_CASE("layernorm: a NaN reaches its row and the gradients of the weights, no other row") {
  RandomInputs inputs(1204);
  INFO("seed ", inputs.seed);
  LayerNormProblem p(inputs, 11, 70);
  p.x[4 * 70 + 69] = std::nanf("");
  for (const Results& got : {run<float>({}, p), run<Bf16>({}, p)}) {
    for (size_t i = 0; i < p.x.size(); ++i) {
      CHECK(std::isnan(got.norm.out[i]) == (i / 70 == 4));
      CHECK(std::isnan(got.dx[i]) == (i / 70 == 4));
    }
    for (size_t c = 0; c < 70; ++c) {
      CHECK(std::isnan(got.norm.dweight[c]));
      CHECK_FALSE(std::isnan(got.norm.dbias[c]));
    }
  }
}

#ifdef GLINT_TEST_CUDA
TEST_CASE("layernorm: too many channels are refused") {
  CHECK_THROWS_AS(layernorm_forward<float>(Context{}, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, {1, 6145}),
                  Error);
}
#endif

}  // namespace glint::test
