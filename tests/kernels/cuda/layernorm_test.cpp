#include "kernels/layernorm.h"

#include "kernels/check.h"
#include "tests/kernels/cuda/guarded.h"
#include "tests/kernels/cuda/layernorm_oracle.h"

namespace glint::test {
namespace {

struct Results {
  std::vector<float> out, mean, rstd, dx, dweight, dbias;
};

struct How {
  Write write = Write::set;
  float before = std::nanf("");
  bool with_bias = true;
  size_t offset = 0;
};

template <typename Scalar>
Results run(const LayerNormProblem& p, const How& how = {}) {
  const size_t rows = static_cast<size_t>(p.shape.rows), C = static_cast<size_t>(p.shape.C), offset = how.offset;
  const Guarded<Scalar> x(p.x, offset), dout(p.dout, offset), out(p.x.size(), offset);
  const Guarded<Scalar> dx(std::vector<float>(p.x.size(), how.before), offset);
  const Guarded<float> weight(p.weight, offset), bias(p.bias, offset), mean(rows, offset), rstd(rows, offset);
  const Guarded<float> dweight(std::vector<float>(C, how.before), offset),
      dbias(std::vector<float>(C, how.before), offset);
  const Guarded<float> scratch(layernorm_backward_scratch(kCuda, p.shape));
  layernorm_forward<Scalar>(kCuda, out.data(), mean.data(), rstd.data(), x.data(), weight.data(),
                            how.with_bias ? bias.data() : nullptr, p.shape);
  layernorm_backward<Scalar>(kCuda, dx.data(), dweight.data(), how.with_bias ? dbias.data() : nullptr, dout.data(),
                             x.data(), mean.data(), rstd.data(), weight.data(), scratch.data(), p.shape, how.write,
                             how.write);
  scratch.values();
  return {out.values(), mean.values(), rstd.values(), dx.values(), dweight.values(), dbias.values()};
}

template <typename Scalar>
std::vector<Scalar> to_scalars(const std::vector<float>& values) {
  std::vector<Scalar> result;
  for (const float value : values) result.push_back(from_float_to<Scalar>(value));
  return result;
}
template <typename Scalar>
std::vector<float> to_floats(const std::vector<Scalar>& values) {
  std::vector<float> result;
  for (const Scalar value : values) result.push_back(to_float(value));
  return result;
}

template <typename Scalar>
Results run_cpu(const LayerNormProblem& p) {
  const size_t rows = static_cast<size_t>(p.shape.rows), C = static_cast<size_t>(p.shape.C);
  const CpuContext ctx{.threads = 2};
  const auto x = to_scalars<Scalar>(p.x), dout = to_scalars<Scalar>(p.dout);
  std::vector<Scalar> out(x.size()), dx(x.size());
  Results r{{}, std::vector<float>(rows), std::vector<float>(rows), {}, std::vector<float>(C), std::vector<float>(C)};
  std::vector<float> scratch(layernorm_backward_scratch(ctx, p.shape));
  layernorm_forward(ctx, out.data(), r.mean.data(), r.rstd.data(), x.data(), p.weight.data(), p.bias.data(), p.shape);
  layernorm_backward(ctx, dx.data(), r.dweight.data(), r.dbias.data(), dout.data(), x.data(), r.mean.data(),
                     r.rstd.data(), p.weight.data(), scratch.data(), p.shape, Write::set, Write::set);
  r.out = to_floats(out);
  r.dx = to_floats(dx);
  return r;
}

template <typename Scalar>
void check_results(const LayerNormProblem& p, const Results& got) {
  const auto exact = p.plain<double>();
  const auto plain = p.plain<float>();
  check_as_good_in<Scalar>("out", got.out, plain.out, exact.out);
  check_as_good("mean", got.mean, plain.mean, exact.mean);
  check_as_good("rstd", got.rstd, plain.rstd, exact.rstd);
  const double walk = p.shape.rows / 4.0;  // a running sum of n random terms is off by about n/4 units in the end
  check_as_good_in<Scalar>("dx", got.dx, plain.dx, exact.dx, largest(exact.rstd));
  check_as_good("dweight", got.dweight, plain.dweight, exact.dweight, walk);
  check_as_good("dbias", got.dbias, plain.dbias, exact.dbias, walk);
}

template <typename Scalar>
void check(RandomInputs& inputs, int rows, int C, size_t offset = 0) {
  INFO("rows ", rows, ", C ", C, ", offset ", offset, ", bytes ", sizeof(Scalar));
  LayerNormProblem p(inputs, rows, C);
  p.x = rounded<Scalar>(p.x);
  p.dout = rounded<Scalar>(p.dout);
  check_results<Scalar>(p, run<Scalar>(p, {.offset = offset}));
  INFO("CPU");
  check_results<Scalar>(p, run_cpu<Scalar>(p));
}

}  // namespace

TEST_CASE("cuda layernorm: agrees with double, forward and backward, small shapes") {
  RandomInputs inputs(1201);
  INFO("seed ", inputs.seed);
  for (const int C : {1, 3, 17, 63, 64, 65, 129, 257}) {
    for (const int rows : {1, 3, 17}) {
      check<float>(inputs, rows, C);
      check<Bf16>(inputs, rows, C);
    }
  }
  check<float>(inputs, 9, 64, 1);
  check<Bf16>(inputs, 9, 64, 3);
}

TEST_CASE("cuda layernorm: rows of several warps, and many rows") {
  RandomInputs inputs(1202);
  INFO("seed ", inputs.seed);
  for (const int C : {1000, 1024, 1025, 2500, 5001, 6144}) {  // teams of 1 to 12 warps
    check<float>(inputs, 9, C);
    check<Bf16>(inputs, 9, C);
  }
  check<float>(inputs, 4096 + 77, 5);  // more than the blocks of backward take in one round
  check<Bf16>(inputs, 4096 + 77, 8);
}

TEST_CASE("cuda layernorm: adds to its gradients where told, takes no bias; repeatable in any order of threads") {
  RandomInputs inputs(1203);
  INFO("seed ", inputs.seed);
  const auto shifted = [](std::vector<float> values) {
    for (float& value : values) value += 0.5f;
    return convert<double>(values);
  };
  for (const int C : {72, 1100}) {
    const LayerNormProblem p(inputs, 21, C);
    const Results set = run<float>(p), added = run<float>(p, {Write::add, 0.5f});
    CHECK(worst_error(added.dx, shifted(set.dx)) < 1e-6);
    CHECK(worst_error(added.dweight, shifted(set.dweight)) < 1e-5);
    CHECK(worst_error(added.dbias, shifted(set.dbias)) < 1e-5);
    const Results no_bias = run<float>(p, {Write::set, 5.0f, false});
    CHECK(same_bits(no_bias.dx, set.dx));
    CHECK(no_bias.dbias == std::vector<float>(static_cast<size_t>(C), 5.0f));  // not touched
    check_as_good("out", no_bias.out, p.plain<float>(false).out, p.plain<double>(false).out);
    simt::in_every_order(
        [&] {
          const Results again = run<float>(p);
          CHECK(same_bits(again.out, set.out));
          CHECK(same_bits(again.rstd, set.rstd));
          CHECK(same_bits(again.dx, set.dx));
          CHECK(same_bits(again.dweight, set.dweight));
          CHECK(same_bits(again.dbias, set.dbias));
        },
        2);
  }
}

TEST_CASE("cuda layernorm: a NaN spoils its row and its parameter gradients, no other row") {
  RandomInputs inputs(1204);
  INFO("seed ", inputs.seed);
  LayerNormProblem p(inputs, 11, 70);
  p.x[4 * 70 + 69] = std::nanf("");
  for (const Results& got : {run<float>(p), run<Bf16>(p)}) {
    for (size_t i = 0; i < p.x.size(); ++i) {
      CHECK(std::isnan(got.out[i]) == (i / 70 == 4));
      CHECK(std::isnan(got.dx[i]) == (i / 70 == 4));
    }
    for (size_t c = 0; c < 70; ++c) {
      CHECK(std::isnan(got.dweight[c]));
      CHECK_FALSE(std::isnan(got.dbias[c]));
    }
  }
}

TEST_CASE("cuda layernorm: too many channels are refused") {
  CHECK_THROWS_AS(layernorm_forward<float>(kCuda, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, {1, 6145}),
                  Error);
}

}  // namespace glint::test
