// The mean and variance of attention's output over masks: of the kernels by their formulas, of other dropout not.
#include "src/measure/dropout_moments.h"

#include <cmath>

#include <doctest/doctest.h>

using namespace glint;

namespace {

double errors_from(const Estimate& estimate, double value) { return std::abs(estimate.mean - value) / estimate.error; }

}  // namespace

TEST_CASE("estimate_of: the mean and its standard error") {
  const Estimate x = estimate_of({1, 2, 6});
  CHECK(x.mean == 3);
  CHECK(x.error == doctest::Approx(std::sqrt(7.0 / 3)));
}

TEST_CASE("moments: the kernels keep the mean and have the formula's variance") {
  for (const float p : {0.1f, 0.5f}) {
    const double q = kept_rate(p), s = 1 / (1 - static_cast<double>(p));
    CHECK(q == doctest::Approx(1 - p).epsilon(0.005));
    const MomentSettings settings{.heads = 2, .T = 24, .HS = 16, .p = p, .masks = 512, .seed = 20261204};
    for (const AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
      const DropoutMoments x = measure_moments(settings, kind, DropoutVariant::flash);
      INFO("p ", p, ", kind ", static_cast<int>(kind), ", scale ", x.scale.mean, ", variance ", x.variance.mean);
      CHECK(errors_from(x.scale, q * s) < 4);
      CHECK(errors_from(x.variance, 1) < 4);
      CHECK(x.distance < 1.4 * x.chance);
      CHECK(std::abs(x.lost_rows - (1 - q)) < 4 * std::sqrt(q * (1 - q) / 1024));
      CHECK(x.same_lse);
    }
    const DropoutMoments unscaled = measure_moments(settings, AttentionKind::reference, DropoutVariant::unscaled);
    CHECK(errors_from(unscaled.scale, q) < 4);
    const DropoutMoments kept = measure_moments(settings, AttentionKind::reference, DropoutVariant::diagonal_kept);
    CHECK(kept.lost_rows == 0);
    const DropoutMoments before = measure_moments(settings, AttentionKind::reference, DropoutVariant::before_softmax);
    CHECK(before.distance > 2 * before.chance);
    CHECK(!before.same_lse);
  }
}
