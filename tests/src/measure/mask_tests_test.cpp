// Random masks pass the tests of masks, and planted faults are noticed by the ones that look for them.
#include "src/measure/mask_tests.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "src/measure/statistics.h"

using namespace glint;

namespace {

constexpr MaskAxes kAxes{.steps = 4, .layers = 2, .sequences = 4, .heads = 2, .T = 128};
constexpr float kP = 0.1f;
const double kRate = 1 - (keep_rule(kP).threshold + 1) / 256.0;

MaskSet drawn(uint64_t seed) {
  MaskSet set(kAxes);
  for (int mask = 0; mask < kAxes.masks(); ++mask) draw_mask(set, mask, kP, place_of(kAxes, seed, mask));
  return set;
}

// The p-values of all tests; for correlations at lag 1 and, inside a mask, up to 32.
struct Outcome {
  double rate, diagonal, rows, columns, heads, sequences, layers, steps;  // rates: the chi-square
  double row_lags, column_lags, head_pairs, sequence_pairs, layer_pairs, step_pairs, all_pairs;
};
Outcome outcome_of(const MaskSet& set) {
  const auto over = [&](MaskAxis axis) { return rates_over(set, axis, kRate).p; };
  const auto pairs = [&](MaskAxis axis) { return test_correlation("", correlation(set, axis, 1, kRate)).p; };
  const auto lags = [&](MaskAxis axis) {
    std::vector<MaskCorrelation> all;
    for (int lag = 1; lag <= 32; ++lag) all.push_back(correlation(set, axis, lag, kRate));
    return test_lags("", all).p;
  };
  return {test_rate(set, kRate).p, test_diagonal(set, kRate).p, over(MaskAxis::row),         over(MaskAxis::column),
          over(MaskAxis::head),    over(MaskAxis::sequence),    over(MaskAxis::layer),       over(MaskAxis::step),
          lags(MaskAxis::row),     lags(MaskAxis::column),      pairs(MaskAxis::head),       pairs(MaskAxis::sequence),
          pairs(MaskAxis::layer),  pairs(MaskAxis::step),       test_all_pairs(set, kRate).p};
}
std::vector<double> values_of(const Outcome& o) {
  return {o.rate,     o.diagonal,    o.rows,       o.columns,        o.heads,       o.sequences,  o.layers,   o.steps,
          o.row_lags, o.column_lags, o.head_pairs, o.sequence_pairs, o.layer_pairs, o.step_pairs, o.all_pairs};
}
double smallest(const Outcome& outcome) {
  const auto corrected = holm(values_of(outcome));
  return *std::min_element(corrected.begin(), corrected.end());
}

constexpr double kNoticed = 1e-6;

}  // namespace

TEST_CASE("masks: those of kernels/dropout.h pass, and are those of the numbered steps, layers, sequences and heads") {
  const MaskSet set = drawn(20261127);
  CHECK(smallest(outcome_of(set)) > 1e-3);
  const uint64_t site = dropout_offsets(4, 2);
  const auto kept = [&](int step, int layer, int b, int h, uint32_t i, uint32_t j) {
    return keep_attention(20261127, (static_cast<uint64_t>(step) * 2 + static_cast<uint64_t>(layer)) * site,
                          static_cast<uint64_t>(b * 2 + h), i, j, keep_rule(kP).threshold);
  };
  int wrong = 0;
  for (uint32_t i = 0; i < 128; ++i)
    for (uint32_t j = 0; j < 128; ++j)
      wrong +=
          set.kept(((3 * 2 + 1) * 4 + 2) * 2 + 1, static_cast<int>(i), static_cast<int>(j)) != kept(3, 1, 2, 1, i, j);
  CHECK(wrong == 0);
}

TEST_CASE("masks: p-values of random masks are spread over [0, 1]") {
  constexpr int kSeeds = 25;
  std::vector<double> all;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto values = values_of(outcome_of(drawn(seed)));
    all.insert(all.end(), values.begin(), values.end() - 1);  // without the bound over all pairs
  }
  const double below = static_cast<double>(std::count_if(all.begin(), all.end(), [](double p) { return p < 0.25; }));
  const double n = static_cast<double>(all.size());
  CHECK(std::abs(below - n / 4) < 4 * std::sqrt(n * 3 / 16));  // four standard deviations
  CHECK(*std::min_element(all.begin(), all.end()) > 1e-5);
}

TEST_CASE("masks: a biased mask is noticed") {
  MaskSet set = drawn(1);
  std::mt19937_64 engine(2);
  for (int mask = 0; mask < kAxes.masks(); ++mask)  // one of 50 dropped elements is kept
    for (int i = 0; i < kAxes.T; ++i)
      for (int w = 0; w < set.words(); ++w)
        for (int bit = 0; bit < 64; ++bit)
          if (engine() % 50 == 0) set.row(mask, i)[w] |= uint64_t{1} << bit;
  CHECK(outcome_of(set).rate < kNoticed);

  MaskSet of_row = drawn(1);  // a single row, in which none is dropped
  for (int mask = 0; mask < kAxes.masks(); ++mask) std::fill_n(of_row.row(mask, 77), set.words(), ~uint64_t{0});
  CHECK(outcome_of(of_row).rows < kNoticed);
  CHECK(rates_over(of_row, MaskAxis::row, kRate).misses >= 1);

  MaskSet diagonal = drawn(1);
  for (int mask = 0; mask < kAxes.masks(); ++mask)
    for (int i = 0; i < kAxes.T; ++i) diagonal.keep(mask, i, i);
  CHECK(outcome_of(diagonal).diagonal < kNoticed);
}

TEST_CASE("masks: a mask used again is noticed, at the next step and anywhere else") {
  const auto copy = [](MaskSet& set, int from, int to) {
    std::copy_n(set.row(from, 0), static_cast<size_t>(kAxes.T) * static_cast<size_t>(set.words()), set.row(to, 0));
  };
  MaskSet constant = drawn(1);  // step 1 has the offset of step 0
  for (int mask = 0; mask < 16; ++mask) copy(constant, mask, 16 + mask);
  CHECK(outcome_of(constant).step_pairs < kNoticed);
  CHECK(outcome_of(constant).all_pairs < kNoticed);
  MaskSet once = drawn(1);
  copy(once, 3, 52);
  CHECK(outcome_of(once).all_pairs < kNoticed);
  CHECK(outcome_of(once).step_pairs > 1e-3);
}

TEST_CASE("masks: correlated rows and columns are noticed") {
  MaskSet rows = drawn(1);
  std::mt19937_64 engine(2);
  for (int mask = 0; mask < kAxes.masks(); ++mask)  // one of 50 elements is that of the row before
    for (int i = 1; i < kAxes.T; ++i)
      for (int w = 0; w < rows.words(); ++w) {
        uint64_t which = 0;
        for (int bit = 0; bit < 64; ++bit) which |= uint64_t{engine() % 50 == 0} << bit;
        rows.row(mask, i)[w] = (rows.row(mask, i)[w] & ~which) | (rows.row(mask, i - 1)[w] & which);
      }
  CHECK(outcome_of(rows).row_lags < kNoticed);
  CHECK(outcome_of(rows).rate > 1e-6);
  MaskSet columns = drawn(1);
  for (int mask = 0; mask < kAxes.masks(); ++mask)  // each row repeats its 20th column in its 51st
    for (int i = 0; i < kAxes.T; ++i)
      for (int w = 0; w < columns.words(); ++w) {
        uint64_t& word = columns.row(mask, i)[w];
        word = (word & ~(uint64_t{1} << 51)) | (word >> 20 & 1) << 51;
      }
  CHECK(outcome_of(columns).column_lags < kNoticed);
}

TEST_CASE("masks: correlations count each pair once") {
  MaskSet set({.T = 128});
  // Rows 0 and 5 are the same: kept where the column is odd. The rest is dropped.
  for (int j = 1; j < 128; j += 2) set.keep(0, 0, j), set.keep(0, 5, j);
  const MaskCorrelation rows = correlation(set, MaskAxis::row, 5, 0.5),
                        columns = correlation(set, MaskAxis::column, 70, 0.5);
  CHECK(rows.pairs == 123 * 128);
  CHECK(rows.correlation == doctest::Approx((123.0 * 128 - 2 * 64) / (123 * 128)));  // rows 5 and 10 differ in 64
  CHECK(columns.pairs == 128 * 58);
  CHECK(columns.correlation == doctest::Approx(1));
}

TEST_CASE("masks: uneven bytes are noticed") {
  auto bytes = count_attention_bytes(kAxes, 1);
  CHECK(test_even("", bytes).p > 1e-3);
  CHECK(test_even("", count_row_bytes(kAxes, 1)).p > 1e-3);
  CHECK(test_even("", bytes).expected == 255);
  bytes[7] += bytes[7] / 4;
  CHECK(test_even("", bytes).p < kNoticed);
  CHECK(test_even("", std::vector<uint64_t>(256, 4096)).p < kNoticed);  // too even
}
