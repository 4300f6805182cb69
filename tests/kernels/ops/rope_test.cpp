#include "kernels/rope.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

enum class Direction { forward, backward };
Direction opposite(Direction direction) {
  return direction == Direction::forward ? Direction::backward : Direction::forward;
}

// Written plainly: x (B, T, stride), of which the first heads * HS are rotated.
template <typename Real>
std::vector<Real> plain(std::vector<Real> x, const RopeShape& s, int first, Direction direction) {
  for (int b = 0; b < s.B; ++b)
    for (int t = 0; t < s.T; ++t)
      for (int head = 0; head < s.heads; ++head)
        for (int i = 0; i < s.HS / 2; ++i) {
          const Real exponent = Real(2 * i) / Real(s.HS), angle = Real(first + t) / std::pow(Real(s.theta), exponent);
          const Real c = std::cos(angle), sine = direction == Direction::forward ? std::sin(angle) : -std::sin(angle);
          Real& low = x[static_cast<size_t>((b * s.T + t) * s.stride + head * s.HS + i)];
          Real& high = (&low)[s.HS / 2];
          const Real a = low, d = high;
          low = a * c - d * sine, high = d * c + a * sine;
        }
  return x;
}

template <typename Scalar>
std::vector<float> run(const Context& ctx, const std::vector<float>& x, RopeShape shape, int first, Direction direction,
                       size_t offset = 0) {
  const Guarded<Scalar> packed(x, offset);
  const OnDevice<int> position(first);
  shape.first_position = first > 0 ? position.data() : nullptr;
  if (direction == Direction::forward) rope_forward(ctx, packed.data(), shape);
  else rope_backward(ctx, packed.data(), shape);
  return packed.values();
}

template <typename Scalar>
void check(RandomInputs& inputs, const RopeShape& shape, int first, size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", heads ", shape.heads, ", HS ", shape.HS, ", first ", first, ", bytes ",
       sizeof(Scalar));
  const size_t n = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T * shape.stride);
  const auto x = rounded<Scalar>(inputs.normal(n));
  // Angles are rounded to fp32 before their sine is taken.
  const std::vector<double> angles(n, 4 * largest(convert<double>(x)) * (first + shape.T) * 0x1p-23);
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    const auto same = plain(x, shape, first, direction);
    const auto exact = plain(convert<double>(x), shape, first, direction);
    std::vector<float> once;
    for_each_context([&](const Context& ctx) {
      const auto got = run<Scalar>(ctx, x, shape, first, direction, offset);
      check_as_good_in<Scalar>("rotated", got, same, exact, 0.0, angles);
      if (once.empty()) once = got;
      CHECK(same_bits(got, once));  // whatever the threads
      for (size_t i = 0; i < n; ++i) {
        if (i % static_cast<size_t>(shape.stride) >= static_cast<size_t>(shape.heads * shape.HS)) CHECK(got[i] == x[i]);
      }
      if (sizeof(Scalar) == 4) {  // there and back
        const auto back = run<Scalar>(ctx, got, shape, first, opposite(direction));
        CHECK(worst_error(back, convert<double>(x)) < 1e-5);
      }
    });
  }
}

}  // namespace

TEST_CASE("rope: agrees with double, forward and back, and leaves values alone, small shapes") {
  RandomInputs inputs(2101);
  INFO("seed ", inputs.seed);
  for (const RopeShape& shape :
       {RopeShape{1, 1, 1, 8, 8}, {2, 5, 3, 32, 8}, {1, 7, 2, 72, 24}, {3, 4, 2, 2 * 128, 64}}) {
    for (const int first : {0, 3}) {
      check<float>(inputs, shape, first);
      check<Bf16>(inputs, shape, first);
    }
  }
  check<float>(inputs, {2, 5, 3, 32, 8}, 0, 1);
  check<Bf16>(inputs, {2, 5, 3, 32, 8}, 0, 3);
}

TEST_CASE("rope: large heads, far positions, another theta") {
  RandomInputs inputs(2102);
  INFO("seed ", inputs.seed);
  check<float>(inputs, {2, 33, 3, 4 * 256, 256}, 1000);
  check<Bf16>(inputs, {2, 33, 3, 4 * 256, 256}, 1000);
  check<float>(inputs, {1, 65, 4, 6 * 40, 40, 500000.0f}, 0);
}

TEST_CASE("rope: a position is that of the whole sequence: token t from 0 is token 0 from t") {
  RandomInputs inputs(2103);
  INFO("seed ", inputs.seed);
  const RopeShape whole{1, 6, 2, 48, 16}, one{1, 1, 2, 48, 16};
  const auto x = inputs.normal(6 * 48);
  const auto expected = run<float>({}, x, whole, 0, Direction::forward);
  for (int t = 0; t < 6; ++t) {
    const std::vector<float> token(x.begin() + t * 48, x.begin() + (t + 1) * 48);
    const std::vector<float> same(expected.begin() + t * 48, expected.begin() + (t + 1) * 48);
    CHECK(same_bits(run<float>({}, token, one, t, Direction::forward), same));
  }
}

TEST_CASE("rope: refuses heads of an odd number of channels") {
  for_each_context([&](const Context& ctx) {
    const Guarded<float> packed(std::vector<float>(2 * 3 * 9, 1.0f));
    CHECK_THROWS_AS(rope_forward(ctx, packed.data(), {1, 2, 3, 27, 9}), Error);
    CHECK_THROWS_AS(rope_backward(ctx, packed.data(), {1, 2, 3, 27, 9}), Error);
  });
}

}  // namespace glint::test
