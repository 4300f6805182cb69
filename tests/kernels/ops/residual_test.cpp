#include "kernels/residual.h"

#include "tests/kernels/dropout_site.h"

namespace glint::test {
namespace {

struct Results {
  std::vector<float> out, dy;
};

enum class Place { apart, over_x, over_y };

template <typename Scalar>
Results run(const Context& ctx, const std::vector<float>& x, const std::vector<float>& y, const ResidualShape& shape,
            const Dropout& dropout, size_t offset = 0, Place place = Place::apart) {
  const Guarded<Scalar> gx(x, offset), gy(y, offset), dout(y, offset), out(x.size(), offset), dy(x.size(), offset);
  const Guarded<Scalar>& to = place == Place::over_x ? gx : place == Place::over_y ? gy : out;
  const Guarded<Scalar>& to_dy = place == Place::apart ? dy : dout;
  residual_dropout_forward<Scalar>(ctx, to.data(), gx.data(), gy.data(), shape, dropout);
  residual_dropout_backward<Scalar>(ctx, to_dy.data(), dout.data(), shape, dropout);
  return {to.values(), to_dy.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, const ResidualShape& shape, float p, const RngState& rng, size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", p ", p, ", rng offset ", rng.offset, ", bytes ",
       sizeof(Scalar));
  const TestSite site(p, rng);
  const std::vector<float> factors = site.factors(shape.B, shape.T, shape.C);
  const auto x = rounded<Scalar>(inputs.normal(factors.size())), y = rounded<Scalar>(inputs.normal(factors.size()));
  for_each_context([&](const Context& ctx) {
    const Results got = run<Scalar>(ctx, x, y, shape, site.dropout, offset);
    for (size_t i = 0; i < x.size(); ++i) {  // one rounding, after what may be a fused multiply-add
      const auto round = [](float value) { return to_float(from_float_to<Scalar>(value)); };
      const float dropped = y[i] * factors[i];
      CHECK(got.dy[i] == round(dropped));
      CHECK((got.out[i] == round(x[i] + dropped) || got.out[i] == round(std::fma(y[i], factors[i], x[i]))));
    }
  });
}

}  // namespace

TEST_CASE("residual: keeps and drops what keep_row says, forward and backward, small shapes") {
  RandomInputs inputs(1601);
  INFO("seed ", inputs.seed);
  for (const RngState& rng : kRngStates) {
    for (const int C : {1, 3, 8, 17, 64, 131, 257}) {
      for (const float p : {0.0f, 0.1f, 0.9f}) {
        check<float>(inputs, {3, 5, C}, p, rng);
        check<Bf16>(inputs, {3, 5, C}, p, rng);
      }
    }
  }
  check<float>(inputs, {2, 3, 64}, 0.5f, kRngStates[1], 1);
  check<Bf16>(inputs, {2, 3, 64}, 0.5f, kRngStates[1], 3);
}

TEST_CASE("residual: more rows and channels") {
  RandomInputs inputs(601);
  INFO("seed ", inputs.seed);
  for (const int C : {16, 40, 128, 384}) check<float>(inputs, {3, 19, C}, 0.5f, kRngStates[1]);
}

TEST_CASE("residual: in place, and the same bits in every order") {
  RandomInputs inputs(1602);
  INFO("seed ", inputs.seed);
  const ResidualShape shape{3, 70, 65};
  for (const float p : {0.0f, 0.2f}) {
    const TestSite site(p, kRngStates[1], 0);
    const auto x = inputs.normal(3 * 70 * 65), y = inputs.normal(3 * 70 * 65);
    const Results apart = run<float>({}, x, y, shape, site.dropout);
    in_every_order([&](const Context& ctx) {
      for (const Place place : {Place::apart, Place::over_x, Place::over_y}) {
        const Results again = run<float>(ctx, x, y, shape, site.dropout, 0, place);
        CHECK(same_bits(again.out, apart.out));
        CHECK(same_bits(again.dy, apart.dy));
      }
    });
  }
}

TEST_CASE("residual: the random state is read when the kernel runs") {
  const ResidualShape shape{2, 4, 40};
  const std::vector<float> ones(2 * 4 * 40, 1.0f);
  const TestSite site(0.5f, kRngStates[0], 32);
  const auto before = run<float>({}, ones, ones, shape, site.dropout).dy;
  RngState later = kRngStates[0];
  later.offset += 1000;
  site.state.set(later);
  const auto after = run<float>({}, ones, ones, shape, site.dropout).dy;
  CHECK(after != before);
  CHECK(after == row_factors(0.5f, later, 32, 2, 4, 40));
}

TEST_CASE("residual: a NaN stays one, in more rows than a GPU's grid has warps") {
  const int rows = 2048 * 8 + 3;
  std::vector<float> x(static_cast<size_t>(rows)), y(static_cast<size_t>(rows), 1.0f);
  x[5] = y[16386] = std::nanf("");
  const Results got = run<Bf16>({}, x, y, {1, rows, 1}, Dropout{});
  for (size_t i = 0; i < y.size(); ++i) REQUIRE((i == 5 || i == 16386 ? std::isnan(got.out[i]) : got.out[i] == 1.0f));
}

#ifndef GLINT_TEST_CUDA
TEST_CASE("residual: rows too wide for the mask are refused") {
  const RngState rng;
  std::vector<float> x(20000);
  CHECK_THROWS_AS(residual_dropout_backward(Context{}, x.data(), x.data(), {1, 1, 20000}, Dropout(0.5f, &rng, 0)),
                  Error);
}
#endif

}  // namespace glint::test
