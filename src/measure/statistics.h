// Tails of distributions, for tests of random numbers: p-values.
#pragma once

#include <cstdint>
#include <vector>

namespace glint {

// P(|Z| >= |z|) of a standard normal Z.
double normal_tails(double z);
// P(X >= x) of a chi-square distribution.
double chi_square_above(double x, double degrees);
// P(low <= X <= high) of a binomial distribution: n trials, each with probability p.
double binomial_within(uint64_t n, double p, uint64_t low, uint64_t high);

// Two-sided p-values: twice the smaller tail. For chi-square: too even is as suspicious as too uneven.
double chi_square_tails(double x, double degrees);
double binomial_tails(uint64_t n, double p, uint64_t k);

// p-values corrected for how many they are: if all hypotheses are true, P(any of these <= a) <= a, however the tests
// depend on each other (S. Holm, A simple sequentially rejective multiple test procedure, 1979).
std::vector<double> holm(const std::vector<double>& p_values);

}  // namespace glint
