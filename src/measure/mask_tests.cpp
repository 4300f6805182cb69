#include "src/measure/mask_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/check.h"
#include "src/measure/statistics.h"

namespace glint {

namespace {

constexpr double kBand = 2.5758293035489;  // standard deviations that hold 99% of a normal distribution

// Masks that are `stride` apart are neighbours on the axis, which has `extent` places.
struct Stride {
  int stride, extent;
};
Stride stride_of(const MaskAxes& a, MaskAxis axis) {
  switch (axis) {
    case MaskAxis::head:
      return {1, a.heads};
    case MaskAxis::sequence:
      return {a.heads, a.sequences};
    case MaskAxis::layer:
      return {a.heads * a.sequences, a.layers};
    case MaskAxis::step:
      return {a.heads * a.sequences * a.layers, a.steps};
    default:
      return {0, a.T};  // inside a mask
  }
}

std::vector<uint64_t> kept_over(const MaskSet& set, MaskAxis axis) {
  const auto [stride, extent] = stride_of(set.axes(), axis);
  std::vector<uint64_t> kept(static_cast<size_t>(extent));
  for (int mask = 0; mask < set.axes().masks(); ++mask) {
    for (int i = 0; i < set.axes().T; ++i) {
      const uint64_t* const row = set.row(mask, i);
      if (axis == MaskAxis::column) {
        for (size_t j = 0; j < kept.size(); ++j) kept[j] += row[j / 64] >> (j % 64) & 1;
        continue;
      }
      uint64_t& count = kept[static_cast<size_t>(axis == MaskAxis::row ? i : mask / stride % extent)];
      for (int w = 0; w < set.words(); ++w) count += static_cast<uint64_t>(std::popcount(row[w]));
    }
  }
  return kept;
}

double z_of(uint64_t kept, double n, double keep) {
  return (static_cast<double>(kept) - n * keep) / std::sqrt(n * keep * (1 - keep));
}

MaskTest share_test(const std::string& what, uint64_t kept, double n, double rate) {
  return {what, 1 - static_cast<double>(kept) / n, rate, normal_tails(z_of(kept, n, 1 - rate))};
}

// Counts of pairs of elements, for sum((a - keep) * (b - keep)).
struct Pairs {
  uint64_t both = 0, first = 0, second = 0, all = 0;

  void add(uint64_t a, uint64_t b, uint64_t which = ~uint64_t{0}) {
    both += static_cast<uint64_t>(std::popcount(a & b & which));
    first += static_cast<uint64_t>(std::popcount(a & which));
    second += static_cast<uint64_t>(std::popcount(b & which));
    all += static_cast<uint64_t>(std::popcount(which));
  }
  void add_rows(const uint64_t* a, const uint64_t* b, int words) {
    for (int w = 0; w < words; ++w) add(a[w], b[w]);
  }
  // Elements (j, j + lag) of one row.
  void add_shifted(const uint64_t* row, int words, int lag) {
    const int T = 64 * words, whole = lag / 64, part = lag % 64;
    for (int w = 0; 64 * w < T - lag; ++w) {
      uint64_t shifted = row[w + whole] >> part;
      if (part && w + whole + 1 < words) shifted |= row[w + whole + 1] << (64 - part);
      const int valid = std::min(64, T - lag - 64 * w);
      add(row[w], shifted, valid == 64 ? ~uint64_t{0} : (uint64_t{1} << valid) - 1);
    }
  }
  MaskCorrelation correlation(double keep) const {
    const auto n = static_cast<double>(all);
    const double sum = static_cast<double>(both) - keep * static_cast<double>(first + second) + n * keep * keep;
    return {sum / (n * keep * (1 - keep)), n};
  }
};

}  // namespace

const char* name_of(MaskAxis axis) {
  constexpr const char* kNames[] = {"row", "column", "head", "sequence", "layer", "step"};
  return kNames[static_cast<int>(axis)];
}

MaskRates rates_over(const MaskSet& set, MaskAxis axis, double rate) {
  const std::vector<uint64_t> kept = kept_over(set, axis);
  const uint64_t n = set.axes().elements() / kept.size();
  const auto each = static_cast<double>(n);
  const double deviation = std::sqrt(each * rate * (1 - rate));
  MaskRates result{.axis = axis, .dropped = {}, .half_band = kBand * deviation / each};
  for (const uint64_t count : kept) {
    const double z = z_of(count, each, 1 - rate);
    result.dropped.push_back(1 - static_cast<double>(count) / each);
    result.misses += std::abs(z) > kBand;
    result.chi_square += z * z;
  }
  const double low = std::ceil(each * (1 - rate) - kBand * deviation),
               high = std::floor(each * (1 - rate) + kBand * deviation);
  const double within =
      binomial_within(n, 1 - rate, static_cast<uint64_t>(std::max(low, 0.0)), static_cast<uint64_t>(high));
  const double miss = std::clamp(1 - within, 1e-9, 1 - 1e-9);  // a band may hold all counts there are
  result.expected_misses = miss * static_cast<double>(kept.size());
  result.p_misses = binomial_tails(kept.size(), miss, static_cast<uint64_t>(result.misses));
  result.p = chi_square_tails(result.chi_square, static_cast<double>(kept.size()));
  return result;
}

MaskTest test_rate(const MaskSet& set, double rate) {
  return share_test("rate of all", set.count(), static_cast<double>(set.axes().elements()), rate);
}

MaskTest test_diagonal(const MaskSet& set, double rate) {
  uint64_t kept = 0;
  for (int mask = 0; mask < set.axes().masks(); ++mask)
    for (int i = 0; i < set.axes().T; ++i) kept += set.kept(mask, i, i);
  return share_test("rate of the diagonal", kept, static_cast<double>(set.axes().masks()) * set.axes().T, rate);
}

double MaskCorrelation::z() const { return correlation * std::sqrt(pairs); }

MaskCorrelation correlation(const MaskSet& set, MaskAxis axis, int lag, double rate) {
  const auto [stride, extent] = stride_of(set.axes(), axis);
  const int T = set.axes().T;
  GLINT_CHECK(lag > 0 && lag < extent, "lag ", lag, " of ", extent);
  Pairs pairs;
  for (int mask = 0; mask < set.axes().masks(); ++mask) {
    if (stride > 0 && mask / stride % extent + lag >= extent) continue;
    for (int i = 0; i < T; ++i) {
      if (axis == MaskAxis::column) pairs.add_shifted(set.row(mask, i), set.words(), lag);
      else if (stride > 0) pairs.add_rows(set.row(mask, i), set.row(mask + lag * stride, i), set.words());
      else if (i + lag < T) pairs.add_rows(set.row(mask, i), set.row(mask, i + lag), set.words());
    }
  }
  return pairs.correlation(1 - rate);
}

MaskTest test_correlation(const std::string& what, const MaskCorrelation& of) {
  return {what, of.correlation, 0, normal_tails(of.z())};
}

MaskTest test_lags(const std::string& what, const std::vector<MaskCorrelation>& lags) {
  double sum = 0;
  for (const MaskCorrelation& lag : lags) sum += lag.z() * lag.z();
  const auto n = static_cast<double>(lags.size());
  return {what, sum, n, chi_square_tails(sum, n)};
}

MaskTest test_all_pairs(const MaskSet& set, double rate) {
  const int masks = set.axes().masks(), words = set.axes().T * set.words();
  MaskCorrelation most;
  for (int a = 0; a < masks; ++a) {
    for (int b = a + 1; b < masks; ++b) {
      Pairs pairs;
      pairs.add_rows(set.row(a, 0), set.row(b, 0), words);
      const MaskCorrelation found = pairs.correlation(1 - rate);
      if (std::abs(found.correlation) >= std::abs(most.correlation)) most = found;
    }
  }
  const double pairs = 0.5 * masks * (masks - 1.0);  // Bonferroni's bound
  return {"the most similar two masks", most.correlation, 0, std::min(1.0, pairs * normal_tails(most.z()))};
}

MaskTest test_even(const std::string& what, const std::vector<uint64_t>& counts) {
  const double all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
  const double degrees = static_cast<double>(counts.size()) - 1, each = all / (degrees + 1);
  double sum = 0;
  for (const uint64_t count : counts) sum += std::pow(static_cast<double>(count) - each, 2) / each;
  return {what, sum, degrees, chi_square_tails(sum, degrees)};
}

}  // namespace glint
