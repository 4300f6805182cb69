// Tests of dropout masks: rates with confidence bands, and correlations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/measure/mask_set.h"

namespace glint {

// The outcome of a test; p: the probability of one at least as far from what is expected, if the masks are random.
struct MaskTest {
  std::string what;
  double measured, expected;
  double p;
};

enum class MaskAxis { row, column, head, sequence, layer, step };
const char* name_of(MaskAxis axis);
inline constexpr MaskAxis kMaskAxes[] = {MaskAxis::row,      MaskAxis::column, MaskAxis::head,
                                         MaskAxis::sequence, MaskAxis::layer,  MaskAxis::step};

// The share of dropped elements for each place of an axis, over all others. A band of 99% around `rate` should hold 99
// of 100 of them; `expected_misses` takes into account that counts are whole numbers.
struct MaskRates {
  MaskAxis axis;
  std::vector<double> dropped;
  double half_band;
  int misses = 0;
  double expected_misses = 0;
  double chi_square = 0;       // of the counts against `rate`, with one degree of freedom each
  double p_misses = 1, p = 1;  // p: of the chi-square
};
// rate: of dropping, as a mask of 8 random bits has it.
MaskRates rates_over(const MaskSet& set, MaskAxis axis, double rate);
MaskTest test_rate(const MaskSet& set, double rate);
MaskTest test_diagonal(const MaskSet& set, double rate);  // the rate of the elements (i, i)

// The correlation of two elements, `lag` apart on an axis and at the same place of all others. Of independent elements
// with a known rate it has mean 0 and variance 1 / pairs.
struct MaskCorrelation {
  double correlation = 0;
  double pairs = 0;
  double z() const;
};
MaskCorrelation correlation(const MaskSet& set, MaskAxis axis, int lag, double rate);
MaskTest test_correlation(const std::string& what, const MaskCorrelation& of);
// All of several lags at once: the sum of the squares of their z.
MaskTest test_lags(const std::string& what, const std::vector<MaskCorrelation>& lags);
// The two most similar masks of all: finds a mask that is used again, wherever it is.
MaskTest test_all_pairs(const MaskSet& set, double rate);

// The chi-square of counts that should all be the same.
MaskTest test_even(const std::string& what, const std::vector<uint64_t>& counts);

}  // namespace glint
