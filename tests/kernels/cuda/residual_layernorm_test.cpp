// The fused kernels against the two that they fuse: the same masks, sums and dropped gradients, bit for bit, and a
// layer norm as good as the formula.
#include "kernels/residual_layernorm.h"

#include "kernels/residual.h"
#include "tests/kernels/cuda/guarded.h"
#include "tests/kernels/cuda/layernorm_oracle.h"

namespace glint::test {
namespace {

struct Inputs {
  ResidualLayerNormShape shape;
  LayerNormProblem norm;  // its x is not used
  std::vector<float> x, y, dsum;
};

template <typename Scalar>
Inputs inputs_of(RandomInputs& inputs, const ResidualLayerNormShape& shape) {
  Inputs in{shape, LayerNormProblem(inputs, shape.B * shape.T, shape.C), {}, {}, {}};
  const size_t n = in.norm.x.size();
  in.norm.dout = rounded<Scalar>(in.norm.dout);
  in.x = rounded<Scalar>(inputs.normal(n, 3.0f));
  in.y = rounded<Scalar>(inputs.normal(n, 2.0f));
  in.dsum = rounded<Scalar>(inputs.normal(n));
  return in;
}

struct Results {
  std::vector<float> out, sum, mean, rstd, dsum, dy, dweight, dbias;
  bool operator==(const Results&) const = default;
};

enum class Place { apart, over_x, over_y };

template <typename Scalar>
Results run(const Inputs& in, const Dropout& dropout, Write write = Write::set, Place place = Place::apart,
            size_t offset = 0) {
  const size_t n = in.x.size(), rows = static_cast<size_t>(in.norm.shape.rows), C = static_cast<size_t>(in.shape.C);
  const float before = write == Write::set ? std::nanf("") : 0.5f;
  const Guarded<Scalar> x(in.x, offset), y(in.y, offset), apart(n, offset), out(n, offset), dout(in.norm.dout, offset);
  const Guarded<Scalar> dsum(in.dsum, offset), dy(n, offset);
  const Guarded<float> weight(in.norm.weight, offset), bias(in.norm.bias, offset), mean(rows), rstd(rows);
  const Guarded<float> dweight(std::vector<float>(C, before), offset), dbias(std::vector<float>(C, before), offset);
  const Guarded<float> scratch(residual_layernorm_backward_scratch(kCuda, in.shape));
  const Guarded<Scalar>& sum = place == Place::over_x ? x : place == Place::over_y ? y : apart;
  residual_layernorm_forward<Scalar>(kCuda, out.data(), sum.data(), mean.data(), rstd.data(), x.data(), y.data(),
                                     weight.data(), bias.data(), in.shape, dropout);
  residual_layernorm_backward<Scalar>(kCuda, dsum.data(), dy.data(), dweight.data(), dbias.data(), dout.data(),
                                      sum.data(), mean.data(), rstd.data(), weight.data(), scratch.data(), in.shape,
                                      dropout, write);
  scratch.values();
  return {out.values(),  sum.values(), mean.values(),    rstd.values(),
          dsum.values(), dy.values(),  dweight.values(), dbias.values()};
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
Results run_cpu(const Inputs& in, const Dropout& dropout) {
  const CpuContext ctx{.threads = 2};
  const size_t n = in.x.size(), rows = static_cast<size_t>(in.norm.shape.rows), C = static_cast<size_t>(in.shape.C);
  const auto x = to_scalars<Scalar>(in.x), y = to_scalars<Scalar>(in.y), dout = to_scalars<Scalar>(in.norm.dout);
  std::vector<Scalar> sum(n), out(n), dy(n), dsum = to_scalars<Scalar>(in.dsum);
  Results r;
  r.mean.resize(rows), r.rstd.resize(rows), r.dweight.resize(C), r.dbias.resize(C);
  std::vector<float> scratch(residual_layernorm_backward_scratch(ctx, in.shape));
  residual_layernorm_forward(ctx, out.data(), sum.data(), r.mean.data(), r.rstd.data(), x.data(), y.data(),
                             in.norm.weight.data(), in.norm.bias.data(), in.shape, dropout);
  residual_layernorm_backward(ctx, dsum.data(), dy.data(), r.dweight.data(), r.dbias.data(), dout.data(),
                              static_cast<const Scalar*>(sum.data()), r.mean.data(), r.rstd.data(),
                              in.norm.weight.data(), scratch.data(), in.shape, dropout, Write::set);
  r.out = to_floats(out), r.sum = to_floats(sum), r.dsum = to_floats(dsum), r.dy = to_floats(dy);
  return r;
}

// dropout'(gradient) by the scalar definition of the mask.
template <typename Scalar>
std::vector<float> dropped(std::vector<float> gradient, const ResidualLayerNormShape& shape, const Dropout& dropout) {
  if (!dropout.on()) return gradient;
  const size_t T = static_cast<size_t>(shape.T), C = static_cast<size_t>(shape.C);
  const KeepRule rule = keep_rule(dropout.p);
  for (size_t i = 0; i < gradient.size(); ++i) {
    const bool keep =
        keep_row(dropout.rng->seed, dropout.rng->offset + dropout.site, dropout.rng->first_sequence + i / C / T,
                 static_cast<uint32_t>(i / C % T), static_cast<uint32_t>(i % C), rule.threshold);
    gradient[i] = keep ? gradient[i] * rule.scale : 0.0f;
  }
  return rounded<Scalar>(gradient);
}

template <typename Scalar>
void check_results(const Inputs& in, const Results& got, const Dropout& dropout) {
  LayerNormProblem norm = in.norm;
  norm.x = got.sum;  // what is normalised is the sum as it is stored
  const auto exact = norm.plain<double>();
  const auto plain = norm.plain<float>();
  check_as_good_in<Scalar>("out", got.out, plain.out, exact.out);
  check_as_good("mean", got.mean, plain.mean, exact.mean);
  check_as_good("rstd", got.rstd, plain.rstd, exact.rstd);
  auto exact_dsum = exact.dx;
  auto plain_dsum = plain.dx;
  for (size_t i = 0; i < in.dsum.size(); ++i) {
    exact_dsum[i] += static_cast<double>(in.dsum[i]);
    plain_dsum[i] += in.dsum[i];
  }
  check_as_good_in<Scalar>("dsum", got.dsum, plain_dsum, exact_dsum, largest(exact.rstd));
  const double walk = norm.shape.rows / 4.0;
  check_as_good("dweight", got.dweight, plain.dweight, exact.dweight, walk);
  check_as_good("dbias", got.dbias, plain.dbias, exact.dbias, walk);
  CHECK(got.dy == dropped<Scalar>(got.dsum, in.shape, dropout));
}

template <typename Scalar>
void check(RandomInputs& inputs, const ResidualLayerNormShape& shape, float p, const RngState& rng, size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", p ", p, ", rng offset ", rng.offset, ", bytes ",
       sizeof(Scalar));
  const DropoutPair dropout(p, rng, 96);
  const Inputs in = inputs_of<Scalar>(inputs, shape);
  const Results got = run<Scalar>(in, dropout.cuda, Write::set, Place::apart, offset),
                cpu = run_cpu<Scalar>(in, dropout.cpu);
  check_results<Scalar>(in, got, dropout.cuda.on() ? dropout.cpu : Dropout{});
  const Guarded<Scalar> x(in.x), y(in.y), sum(in.x.size());
  residual_dropout_forward<Scalar>(kCuda, sum.data(), x.data(), y.data(), {shape.B, shape.T, shape.C}, dropout.cuda);
  CHECK(sum.values() == got.sum);
  INFO("CPU");
  check_results<Scalar>(in, cpu, dropout.cpu);
}

}  // namespace

TEST_CASE("cuda residual_layernorm: agrees with double, and with the kernels that it fuses, small shapes") {
  RandomInputs inputs(1901);
  INFO("seed ", inputs.seed);
  for (const int C : {1, 3, 17, 63, 64, 65, 129, 257}) {
    for (const float p : {0.0f, 0.2f}) {
      check<float>(inputs, {3, 5, C}, p, kRngStates[1]);
      check<Bf16>(inputs, {3, 5, C}, p, kRngStates[1]);
    }
  }
  check<float>(inputs, {2, 5, 64}, 0.5f, kRngStates[2], 1);
  check<Bf16>(inputs, {2, 5, 64}, 0.5f, kRngStates[2], 3);
}

TEST_CASE("cuda residual_layernorm: rows of several warps, and many rows") {
  RandomInputs inputs(1902);
  INFO("seed ", inputs.seed);
  for (const int C : {1000, 1025, 2500, 6144}) {
    check<float>(inputs, {2, 5, C}, 0.1f, kRngStates[0]);
    check<Bf16>(inputs, {2, 5, C}, 0.1f, kRngStates[0]);
  }
  check<Bf16>(inputs, {3, 1400, 8}, 0.1f, kRngStates[1]);  // more than the blocks of backward take in one round
}

TEST_CASE("cuda residual_layernorm: in place, and repeatable in any order of threads") {
  RandomInputs inputs(1903);
  INFO("seed ", inputs.seed);
  for (const int C : {72, 1100}) {
    const DropoutPair dropout(0.2f, kRngStates[1], 32);
    const Inputs in = inputs_of<Bf16>(inputs, {3, 7, C});
    const Results once = run<Bf16>(in, dropout.cuda), added = run<Bf16>(in, dropout.cuda, Write::add);
    simt::in_every_order(
        [&] {
          for (const Place place : {Place::apart, Place::over_x, Place::over_y}) {
            CHECK(run<Bf16>(in, dropout.cuda, Write::set, place) == once);
          }
        },
        1);
    for (size_t c = 0; c < once.dbias.size(); ++c) {
      CHECK(added.dbias[c] == once.dbias[c] + 0.5f);
      CHECK(added.dweight[c] == once.dweight[c] + 0.5f);
    }
  }
}

TEST_CASE("cuda residual_layernorm: a NaN spoils its row, no other") {
  RandomInputs inputs(1904);
  INFO("seed ", inputs.seed);
  Inputs in = inputs_of<Bf16>(inputs, {1, 11, 70});
  in.y[4 * 70 + 69] = std::nanf("");
  const Results got = run<Bf16>(in, Dropout{});
  for (size_t i = 0; i < in.x.size(); ++i) {
    CHECK(std::isnan(got.sum[i]) == (i == 4 * 70 + 69));
    CHECK(std::isnan(got.out[i]) == (i / 70 == 4));
    CHECK(std::isnan(got.dy[i]) == (i / 70 == 4));
  }
}

}  // namespace glint::test
