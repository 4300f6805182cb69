#include "src/measure/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "kernels/check.h"

namespace glint {

namespace {

// log of x^a e^-x / Gamma(a)
double log_gamma_factor(double a, double x) { return a * std::log(x) - x - std::lgamma(a); }

// The regularised incomplete gamma function Q(a, x): by its series for P = 1 - Q, or by its continued fraction (NIST
// Digital Library of Mathematical Functions, 8.7.1 and 8.9.2), evaluated by Lentz's method.
double gamma_above(double a, double x) {
  constexpr double kEnough = 1e-15;
  constexpr int kMaxTerms = 100000;
  if (x <= 0) return 1;
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n < kMaxTerms && term > kEnough * sum; ++n) sum += term *= x / (a + n);
    return std::max(0.0, 1 - sum * std::exp(log_gamma_factor(a, x)));
  }
  constexpr double kTiny = 1e-300;
  double b = x + 1 - a, c = 1 / kTiny, d = 1 / b, fraction = d;
  for (int n = 1; n < kMaxTerms; ++n) {
    const double numerator = n * (a - n);
    b += 2;
    d = 1 / (std::abs(numerator * d + b) < kTiny ? kTiny : numerator * d + b);
    c = std::abs(b + numerator / c) < kTiny ? kTiny : b + numerator / c;
    fraction *= c * d;
    if (std::abs(c * d - 1) < kEnough) break;
  }
  return fraction * std::exp(log_gamma_factor(a, x));
}

double smaller_tail_twice(double below, double above) { return std::min(1.0, 2 * std::min(below, above)); }

}  // namespace

double normal_tails(double z) { return std::erfc(std::abs(z) * std::sqrt(0.5)); }

double chi_square_above(double x, double degrees) { return gamma_above(degrees / 2, x / 2); }

double binomial_within(uint64_t n, double p, uint64_t low, uint64_t high) {
  GLINT_CHECK(p > 0 && p < 1, "p ", p);
  const auto trials = static_cast<double>(n);
  double sum = 0;
  for (uint64_t k = low; k <= std::min(high, n); ++k) {
    const auto hits = static_cast<double>(k);
    sum += std::exp(std::lgamma(trials + 1) - std::lgamma(hits + 1) - std::lgamma(trials - hits + 1) +
                    hits * std::log(p) + (trials - hits) * std::log1p(-p));
  }
  return std::min(sum, 1.0);
}

double chi_square_tails(double x, double degrees) {
  const double above = chi_square_above(x, degrees);
  return smaller_tail_twice(1 - above, above);
}

double binomial_tails(uint64_t n, double p, uint64_t k) {
  return smaller_tail_twice(binomial_within(n, p, 0, k), binomial_within(n, p, k, n));
}

std::vector<double> holm(const std::vector<double>& p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> corrected(p_values.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(order.size() - rank) * p_values[order[rank]]);
    corrected[order[rank]] = std::min(1.0, largest);
  }
  return corrected;
}

}  // namespace glint
