#include "kernels/residual.h"

#include "kernels/check.h"
#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

// What every element is multiplied with, by the scalar definition of the mask.
std::vector<float> factors_of(const ResidualShape& shape, const Dropout& dropout) {
  const KeepRule rule = keep_rule(dropout.p);
  std::vector<float> factors;
  for (int b = 0; b < shape.B; ++b)
    for (int t = 0; t < shape.T; ++t)
      for (int c = 0; c < shape.C; ++c) {
        const bool keep = keep_row(dropout.rng->seed, dropout.rng->offset + dropout.site,
                                   dropout.rng->first_sequence + static_cast<uint64_t>(b), static_cast<uint32_t>(t),
                                   static_cast<uint32_t>(c), rule.threshold);
        factors.push_back(keep ? rule.scale : 0.0f);
      }
  return factors;
}

}  // namespace

TEST_CASE("residual dropout keeps and drops what keep_row says, forward and backward") {
  RandomInputs inputs(601);
  INFO("seed ", inputs.seed);
  const RngState states[] = {{1, 0, 0, 0},
                             {0x123456789ABCDEF0u, 0xFFFFFFF0u, 3, 5}};  // the second carries into the high word
  for (const RngState& rng : states) {
    for (const int C : {1, 8, 16, 40, 128, 131, 384}) {
      for (const float p : {0.1f, 0.5f, 0.9f}) {
        for (const int threads : {1, 2, 3}) {
          INFO("C ", C, ", p ", p, ", threads ", threads);
          const ResidualShape shape{3, 9, C};
          const Dropout dropout{p, &rng, 64};
          const size_t n = 27 * static_cast<size_t>(C);
          const std::vector<float> x = inputs.normal(n), y = inputs.normal(n), factors = factors_of(shape, dropout);
          std::vector<float> dropped(n), out(n), dy(n);
          for (size_t i = 0; i < n; ++i) dropped[i] = y[i] * factors[i];
          residual_dropout_forward({.threads = threads}, out.data(), x.data(), y.data(), shape, dropout);
          residual_dropout_backward({.threads = threads}, dy.data(), y.data(), shape, dropout);
          for (size_t i = 0; i < n; ++i) {
            CHECK(dy[i] == dropped[i]);
            CHECK((out[i] == x[i] + dropped[i] || out[i] == std::fma(y[i], factors[i], x[i])));
          }
        }
      }
    }
  }
}

TEST_CASE("residual without dropout is a sum, and needs no random state; in place too") {
  RandomInputs inputs(602);
  INFO("seed ", inputs.seed);
  const ResidualShape shape{5, 70, 61};
  const size_t n = 5 * 70 * 61;
  const RngState rng{9, 0, 0, 0};
  const std::vector<float> x = inputs.normal(n), y = inputs.normal(n);
  for (const Dropout& dropout : {Dropout{}, Dropout{0.2f, &rng, 0}}) {
    std::vector<float> out(n), over_x = x, over_y = y, dy(n), over_dout = y;
    residual_dropout_forward({.threads = 2}, out.data(), x.data(), y.data(), shape, dropout);
    residual_dropout_forward({.threads = 2}, over_x.data(), over_x.data(), y.data(), shape, dropout);
    residual_dropout_forward({.threads = 2}, over_y.data(), x.data(), over_y.data(), shape, dropout);
    residual_dropout_backward({.threads = 2}, dy.data(), y.data(), shape, dropout);
    residual_dropout_backward({.threads = 2}, over_dout.data(), over_dout.data(), shape, dropout);
    CHECK(same_bits(out, over_x));
    CHECK(same_bits(out, over_y));
    CHECK(same_bits(dy, over_dout));
    if (dropout.on()) continue;
    CHECK(same_bits(dy, y));
    for (size_t i = 0; i < n; ++i) CHECK(out[i] == x[i] + y[i]);
  }
}

TEST_CASE("rows too wide for the mask are refused") {
  const RngState rng;
  std::vector<float> x(20000);
  CHECK_THROWS_AS(residual_dropout_backward(CpuContext{}, x.data(), x.data(), {1, 1, 20000}, Dropout{0.5f, &rng, 0}),
                  Error);
}

}  // namespace glint::test
