// Expected values: mpmath 1.3, gammainc(), erfc() and exact sums of binomials at 30 digits.
#include "src/measure/statistics.h"

#include <vector>

#include <doctest/doctest.h>

using namespace glint;

TEST_CASE("statistics: tails of the normal, the chi-square and the binomial distribution") {
  const auto near = [](double value) { return doctest::Approx(value).epsilon(1e-10); };
  CHECK(normal_tails(1.959964) == near(0.0499999981929));
  CHECK(normal_tails(-6) == near(1.97317529008e-9));
  CHECK(normal_tails(10) == near(1.52397060483e-23));
  CHECK(chi_square_above(3.841459, 1) == near(0.0499999946532));
  CHECK(chi_square_above(18.307, 10) == near(0.0500005890914));
  CHECK(chi_square_above(135.807, 100) == near(0.00999957372925));
  CHECK(chi_square_above(300, 255) == near(0.0277275220539));
  CHECK(chi_square_above(200, 255) == near(0.995425444542));
  CHECK(chi_square_above(700, 512) == near(5.80990118311e-8));
  CHECK(chi_square_above(0.01, 3) == near(0.999734834941));
  CHECK(chi_square_above(0, 3) == 1);
  CHECK(chi_square_tails(200, 255) == near(2 * (1 - 0.995425444542)));
  CHECK(chi_square_tails(300, 255) == near(2 * 0.0277275220539));
  CHECK(binomial_within(100, 0.1, 5, 15) == near(0.936398390225));
  CHECK(binomial_within(5000, 0.3, 1450, 1550) == near(0.880891789173));
  CHECK(binomial_tails(512, 0.01, 4) == near(2 * 0.418732130887));
  CHECK(binomial_tails(20, 0.01, 0) == 1);
}

TEST_CASE("statistics: Holm's correction") {
  CHECK(holm({}).empty());
  CHECK(holm({0.02}) == std::vector<double>{0.02});
  // 3 * 0.01; then 2 * 0.02, 1 * 0.03 raised to the one before.
  const auto corrected = holm({0.03, 0.01, 0.02});
  CHECK(corrected[1] == doctest::Approx(0.03));
  CHECK(corrected[2] == doctest::Approx(0.04));
  CHECK(corrected[0] == doctest::Approx(0.04));
  CHECK(holm({0.6, 0.7})[0] == 1);
}
