#include "kernels/reduce.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {

TEST_CASE("sums agree with long double and do not depend on the thread count") {
  RandomInputs inputs(401);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{0}, size_t{1}, size_t{9}, kReduceBlock, kReduceBlock + 1, 7 * kReduceBlock + 333}) {
    const std::vector<float> x = inputs.normal(n, 10.0f);
    long double total = 0, squares = 0;
    for (float value : x) {
      total += value;
      squares += static_cast<long double>(value) * value;
    }
    const double one = sum({.threads = 1}, x.data(), n), one_squares = sum_of_squares({.threads = 1}, x.data(), n);
    CHECK(std::abs(one - static_cast<double>(total)) <= 1e-12 * (1.0 + static_cast<double>(squares)));
    CHECK(std::abs(one_squares - static_cast<double>(squares)) <= 1e-13 * static_cast<double>(squares));
    for (const int threads : {2, 3, 5}) {
      CHECK(sum({.threads = threads}, x.data(), n) == one);
      CHECK(sum_of_squares({.threads = threads}, x.data(), n) == one_squares);
    }
  }
}

TEST_CASE("a sum of squares beyond the range of float is still a number") {
  const std::vector<float> x(1000, 1e25f);
  CHECK(sum_of_squares({.threads = 2}, x.data(), x.size()) == doctest::Approx(1e53));
}

TEST_CASE("the first NaN or infinity is found") {
  const size_t n = 6 * kReduceBlock + 5;
  for (const float broken :
       {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const size_t place : {size_t{0}, size_t{3}, kReduceBlock, 4 * kReduceBlock + 17, n - 1}) {
      for (const int threads : {1, 2, 3}) {
        std::vector<float> x(n, std::numeric_limits<float>::max());
        CHECK(first_not_finite({.threads = threads}, x.data(), n) == n);
        x[place] = broken;
        x[n - 1] = broken;
        CHECK(first_not_finite({.threads = threads}, x.data(), n) == place);
      }
    }
  }
}

}  // namespace glint::test
