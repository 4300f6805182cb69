#include "kernels/residual.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

// What every element is multiplied with, by the scalar definition of the mask.
std::vector<float> factors_of(const ResidualShape& shape, const Dropout& dropout) {
  const KeepRule rule = keep_rule(dropout.p);
  std::vector<float> factors;
  for (int b = 0; b < shape.B; ++b)
    for (int t = 0; t < shape.T; ++t)
      for (int c = 0; c < shape.C; ++c) {
        const bool keep = !dropout.on() || keep_row(dropout.rng->seed, dropout.rng->offset + dropout.site,
                                                    dropout.rng->first_sequence + static_cast<uint64_t>(b),
                                                    static_cast<uint32_t>(t), static_cast<uint32_t>(c), rule.threshold);
        factors.push_back(keep ? rule.scale : 0.0f);
      }
  return factors;
}

struct Results {
  std::vector<float> out, dy;
};

enum class Place { apart, over_x, over_y };

template <typename Scalar>
Results run(const std::vector<float>& x, const std::vector<float>& y, const ResidualShape& shape,
            const Dropout& dropout, size_t offset = 0, Place place = Place::apart) {
  const Guarded<Scalar> gx(x, offset), gy(y, offset), gradient(y, offset), out(x.size(), offset), dy(x.size(), offset);
  const Guarded<Scalar>& to = place == Place::over_x ? gx : place == Place::over_y ? gy : out;
  const Guarded<Scalar>& to_dy = place == Place::apart ? dy : gradient;
  residual_dropout_forward<Scalar>(kCuda, to.data(), gx.data(), gy.data(), shape, dropout);
  residual_dropout_backward<Scalar>(kCuda, to_dy.data(), gradient.data(), shape, dropout);
  return {to.values(), to_dy.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, const ResidualShape& shape, float p, const RngState& rng, size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", p ", p, ", rng offset ", rng.offset, ", bytes ",
       sizeof(Scalar));
  const DropoutPair dropout(p, rng, 96);
  const std::vector<float> factors = factors_of(shape, dropout.cpu);
  const auto x = rounded<Scalar>(inputs.normal(factors.size())), y = rounded<Scalar>(inputs.normal(factors.size()));
  const Results got = run<Scalar>(x, y, shape, dropout.cuda, offset);
  std::vector<Scalar> host_x, host_y, host_out(x.size()), host_dy(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    host_x.push_back(from_float_to<Scalar>(x[i]));
    host_y.push_back(from_float_to<Scalar>(y[i]));
  }
  residual_dropout_forward(kCpu, host_out.data(), host_x.data(), host_y.data(), shape, dropout.cpu);
  residual_dropout_backward(kCpu, host_dy.data(), host_y.data(), shape, dropout.cpu);
  for (size_t i = 0; i < x.size(); ++i) {  // one rounding, of what may be a fused multiply-add
    const auto round = [](float value) { return to_float(from_float_to<Scalar>(value)); };
    const float dropped = y[i] * factors[i], sum = round(x[i] + dropped),
                fused = round(std::fma(y[i], factors[i], x[i]));
    CHECK(got.dy[i] == round(dropped));
    CHECK((got.out[i] == sum || got.out[i] == fused));
    CHECK(to_float(host_dy[i]) == round(dropped));
    CHECK((to_float(host_out[i]) == sum || to_float(host_out[i]) == fused));
  }
}

}  // namespace

TEST_CASE("cuda residual: keeps and drops what keep_row says, forward and backward, small shapes") {
  RandomInputs inputs(1601);
  INFO("seed ", inputs.seed);
  for (const RngState& rng : kRngStates) {
    for (const int C : {1, 3, 17, 64, 131, 257}) {
      for (const float p : {0.0f, 0.1f, 0.9f}) {
        check<float>(inputs, {3, 5, C}, p, rng);
        check<Bf16>(inputs, {3, 5, C}, p, rng);
      }
    }
  }
  check<float>(inputs, {2, 3, 64}, 0.5f, kRngStates[1], 1);
  check<Bf16>(inputs, {2, 3, 64}, 0.5f, kRngStates[1], 3);
}

TEST_CASE("cuda residual: in place, and in any order of threads") {
  RandomInputs inputs(1602);
  INFO("seed ", inputs.seed);
  const ResidualShape shape{3, 7, 65};
  for (const float p : {0.0f, 0.2f}) {
    const DropoutPair dropout(p, kRngStates[1], 0);
    const auto x = inputs.normal(3 * 7 * 65), y = inputs.normal(3 * 7 * 65);
    const Results apart = run<float>(x, y, shape, dropout.cuda);
    simt::in_every_order([&] {
      for (const Place place : {Place::apart, Place::over_x, Place::over_y}) {
        const Results again = run<float>(x, y, shape, dropout.cuda, 0, place);
        CHECK(same_bits(again.out, apart.out));
        CHECK(same_bits(again.dy, apart.dy));
      }
    });
  }
}

TEST_CASE("cuda residual: the random state is read when the kernel runs") {
  const ResidualShape shape{2, 4, 40};
  const std::vector<float> ones(2 * 4 * 40, 1.0f);
  const DropoutPair dropout(0.5f, kRngStates[0], 32);
  const auto before = run<float>(ones, ones, shape, dropout.cuda).dy;
  RngState later = kRngStates[0];
  later.offset += 1000;
  dropout.device.buffer.copy_from(std::vector<RngState>{later});
  const DropoutPair moved(0.5f, later, 32);
  const auto after = run<float>(ones, ones, shape, dropout.cuda).dy;
  CHECK(after != before);
  CHECK(after == factors_of(shape, moved.cpu));
}

TEST_CASE("cuda residual: a NaN comes through where it is kept, more rows than the grid has warps") {
  const int rows = 2048 * 8 + 3;
  std::vector<float> x(static_cast<size_t>(rows)), y(static_cast<size_t>(rows), 1.0f);
  x[5] = y[16386] = std::nanf("");
  const Results got = run<Bf16>(x, y, {1, rows, 1}, Dropout{});
  for (size_t i = 0; i < y.size(); ++i) REQUIRE((i == 5 || i == 16386 ? std::isnan(got.out[i]) : got.out[i] == 1.0f));
}

}  // namespace glint::test
