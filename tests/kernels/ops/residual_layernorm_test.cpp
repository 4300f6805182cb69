// The fused kernel against the two that it fuses: the same masks, sums and dropped gradients, bit for bit, and a layer
// norm as good as the formula.
#include "kernels/residual_layernorm.h"

#include "kernels/residual.h"
#include "tests/kernels/dropout_site.h"
#include "tests/kernels/ops/layernorm_oracle.h"

namespace glint::test {
namespace {

template <typename Scalar>
struct Problem {
  ResidualLayerNormShape shape;
  LayerNormProblem norm;  // its x is the sum
  std::vector<float> x, y, dsum;

  Problem(RandomInputs& inputs, const ResidualLayerNormShape& s, bool rms = false)
      : shape(s), norm(inputs, s.B * s.T, s.C, rms) {
    const size_t n = norm.x.size();
    norm.dout = rounded<Scalar>(norm.dout);
    x = rounded<Scalar>(inputs.normal(n, 3.0f));
    y = rounded<Scalar>(inputs.normal(n, 2.0f));
    dsum = rounded<Scalar>(inputs.normal(n));
  }
};

struct Results {
  LayerNormResults norm;
  std::vector<float> sum, dsum, dy;
  bool operator==(const Results&) const = default;
};

enum class Place { apart, over_x, over_y };

template <typename Scalar>
Results run(const Context& ctx, const Problem<Scalar>& p, const Dropout& dropout, Write write = Write::set,
            Place place = Place::apart, size_t offset = 0) {
  const size_t n = p.x.size(), rows = static_cast<size_t>(p.norm.shape.rows), C = static_cast<size_t>(p.shape.C);
  const Guarded<Scalar> x(p.x, offset), y(p.y, offset), apart(n, offset), out(n, offset), dout(p.norm.dout, offset);
  const Guarded<Scalar> dsum(p.dsum, offset), dy(n, offset);
  const Guarded<float> weight(p.norm.weight, offset), bias(p.norm.bias, offset), mean(rows), rstd(rows);
  const Guarded<float> dweight(C, before(write), offset), dbias(C, before(write), offset);
  const Guarded<float> scratch(residual_layernorm_backward_scratch(ctx, p.shape));
  const Guarded<Scalar>& sum = place == Place::over_x ? x : place == Place::over_y ? y : apart;
  float* const means = p.norm.rms ? nullptr : mean.data();
  residual_layernorm_forward<Scalar>(ctx, out.data(), sum.data(), means, rstd.data(), x.data(), y.data(), weight.data(),
                                     bias.data(), p.shape, dropout);
  residual_layernorm_backward<Scalar>(ctx, dsum.data(), dy.data(), dweight.data(), dbias.data(), dout.data(),
                                      sum.data(), means, rstd.data(), weight.data(), scratch.data(), p.shape, dropout,
                                      write);
  scratch.values();
  return {{p.norm, mean, out.values(), rstd.values(), dweight.values(), dbias.values()},
          sum.values(),
          dsum.values(),
          dy.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, const ResidualLayerNormShape& shape, float p, const RngState& rng, size_t offset = 0,
           bool rms = false) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", p ", p, ", rng offset ", rng.offset, ", bytes ",
       sizeof(Scalar));
  const TestSite site(p, rng);
  const Problem<Scalar> problem(inputs, shape, rms);
  const Results got = run({}, problem, site.dropout, Write::set, Place::apart, offset);

  const Guarded<Scalar> x(problem.x), y(problem.y), sum(problem.x.size());
  residual_dropout_forward<Scalar>(Context{}, sum.data(), x.data(), y.data(), {shape.B, shape.T, shape.C},
                                   site.dropout);
  CHECK(sum.values() == got.sum);

  LayerNormProblem norm = problem.norm;
  norm.x = got.sum;  // the sum is normalised as it is stored
  const auto exact = norm.plain<double>();
  const auto plain = norm.plain<float>();
  check_layernorm<Scalar>(got.norm, plain, exact);
  auto exact_dsum = exact.dx;
  auto plain_dsum = plain.dx;
  std::vector<float> dropped = site.factors(shape.B, shape.T, shape.C);
  for (size_t i = 0; i < dropped.size(); ++i) {
    exact_dsum[i] += static_cast<double>(problem.dsum[i]);
    plain_dsum[i] += problem.dsum[i];
    dropped[i] *= got.dsum[i];
  }
  check_as_good_in<Scalar>("dsum", got.dsum, plain_dsum, exact_dsum, largest(exact.rstd));
  CHECK(got.dy == rounded<Scalar>(dropped));
}

}  // namespace

TEST_CASE("residual_layernorm: agrees with double, and with the kernels that it fuses, small shapes") {
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

TEST_CASE("residual_layernorm: wide rows, and many") {
  RandomInputs inputs(1902);
  INFO("seed ", inputs.seed);
  for (const int C : {384, 520, 768, 1000, 1024, 1025, 1600, 2500, 6144}) {  // on a GPU, rows of 1 to 12 warps
    check<float>(inputs, {2, 5, C}, 0.1f, kRngStates[0]);
    check<Bf16>(inputs, {2, 5, C}, 0.1f, kRngStates[0]);
    check<Bf16>(inputs, {2, 5, C}, 0.0f, kRngStates[0], 1);
  }
  check<Bf16>(inputs, {3, 1500, 8}, 0.1f, kRngStates[1]);  // three rounds of the blocks of a GPU's backward
}

TEST_CASE("residual_layernorm: RMSNorm too") {
  RandomInputs inputs(1906);
  INFO("seed ", inputs.seed);
  for (const int C : {3, 64, 129, 768, 1600}) {
    check<float>(inputs, {2, 5, C}, 0.1f, kRngStates[0], 0, true);
    check<Bf16>(inputs, {2, 5, C}, 0.1f, kRngStates[0], 0, true);
  }
}

TEST_CASE("residual_layernorm: more rows than a GPU's forward takes in one round") {
  RandomInputs inputs(1905);
  INFO("seed ", inputs.seed);
  for (const int C : {256, 384, 768, 1032}) check<Bf16>(inputs, {4, 50, C}, 0.1f, kRngStates[2]);
}

TEST_CASE("residual_layernorm: in place, and the same bits in every order") {
  RandomInputs inputs(1903);
  INFO("seed ", inputs.seed);
  for (const int C : {72, 1100, 1104}) {
    const TestSite site(0.2f, kRngStates[1], 32);
    const Problem<Bf16> p(inputs, {3, 7, C});
    const Results once = run({}, p, site.dropout), added = run({}, p, site.dropout, Write::add);
    in_every_order(
        [&](const Context& ctx) {
          for (const Place place : {Place::apart, Place::over_x, Place::over_y}) {
            CHECK(run(ctx, p, site.dropout, Write::set, place) == once);
          }
        },
        C > 1024 ? 6 : 1);  // teams of warps: who waits for whom depends on the order
    for (size_t c = 0; c < once.norm.dbias.size(); ++c) {
      CHECK(added.norm.dbias[c] == once.norm.dbias[c] + 0.5f);
      CHECK(added.norm.dweight[c] == once.norm.dweight[c] + 0.5f);
    }
  }
}

TEST_CASE("residual_layernorm: a NaN reaches its row, no other") {
  RandomInputs inputs(1904);
  INFO("seed ", inputs.seed);
  Problem<Bf16> p(inputs, {1, 11, 70});
  p.y[4 * 70 + 69] = std::nanf("");
  const Results got = run({}, p, Dropout{});
  for (size_t i = 0; i < p.x.size(); ++i) {
    CHECK(std::isnan(got.sum[i]) == (i == 4 * 70 + 69));
    CHECK(std::isnan(got.norm.out[i]) == (i / 70 == 4));
    CHECK(std::isnan(got.dy[i]) == (i / 70 == 4));
  }
}

}  // namespace glint::test
