// How accurate a kernel must be: its error, measured against double, may be twice that of the same formula written
// plainly in fp32. No tolerance is chosen by hand.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace glint::test {

template <typename To, typename From>
std::vector<To> convert(const std::vector<From>& from) {
  return std::vector<To>(from.begin(), from.end());
}

inline double largest(const std::vector<double>& values) {
  double result = 0.0;
  for (double value : values) result = std::max(result, std::abs(value));
  return result;
}

// The largest difference, beyond what is known[i] to be possible; infinite where one is NaN.
template <typename Real>
double worst_error(const std::vector<Real>& got, const std::vector<double>& exact,
                   const std::vector<double>& known = {}) {
  REQUIRE(got.size() == exact.size());
  REQUIRE((known.empty() || known.size() == exact.size()));
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - exact[i]) - (known.empty() ? 0.0 : known[i]);
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  return worst;
}

// plain: results of the plain formula in float; exact: in double. terms: the size of the terms of a sum (root of the
// sum of their squares), where they may cancel to a result much smaller than they are.
inline double allowed_error(const std::vector<float>& plain, const std::vector<double>& exact, double terms = 0.0) {
  const double unit = std::numeric_limits<float>::epsilon() * std::max(largest(exact), terms);
  return 2.0 * worst_error(plain, exact) + 2.0 * unit;
}

// got: the kernel's results. known: by how much each may be off besides, by an approximation whose error is known.
inline void check_as_good(const std::string& what, const std::vector<float>& got, const std::vector<float>& plain,
                          const std::vector<double>& exact, double terms = 0.0, const std::vector<double>& known = {}) {
  INFO(what);
  CHECK(worst_error(got, exact, known) <= allowed_error(plain, exact, terms));
}

// The gradient of loss(x) by central differences, in double.
template <typename Loss>
std::vector<double> finite_differences(std::vector<double> x, const Loss& loss) {
  std::vector<double> gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double value = x[i], h = 1e-5;
    x[i] = value + h;
    const double above = loss(x);
    x[i] = value - h;
    gradient[i] = (above - loss(x)) / (2.0 * h);
    x[i] = value;
  }
  return gradient;
}

// Checks the oracle's derivative against finite differences of the oracle.
inline void check_gradient(const std::string& what, const std::vector<double>& gradient,
                           const std::vector<double>& differences) {
  INFO(what);
  CHECK(worst_error(gradient, differences) <= 1e-8 * (1.0 + largest(differences)));
}

template <typename Real>
double dot(const std::vector<Real>& a, const std::vector<double>& b) {
  double total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) total += static_cast<double>(a[i]) * b[i];
  return total;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace glint::test
