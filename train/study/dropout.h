// glint study dropout: its rows of training runs, and what is made of them.
#pragma once

#include <string>
#include <vector>

#include "src/measure/dropout_moments.h"
#include "train/study/study.h"
#include "train/study/training_run.h"

namespace glint {

struct DropoutFlags : StudyFlags {
  int layers = 2, heads = 4, embd = 64, context = 64, batch = 16;
  int64_t steps = 1000, train_tokens = 8000;
  double lr = 5e-3, dropout = 0.2;
  int seeds = 4, masks = 4096, threads = 0;
  uint64_t seed = 1;
  std::string data{};
  std::vector<std::string> sizes = {"1x32", "2x64", "3x96", "4x128"};  // layers x channels
};

enum class Sites { none, attention, all };

// Training runs that differ only by their seed.
struct DropoutRow {
  std::string name, about{};
  Sites sites = Sites::none;
  double p = 0;
  DropoutVariant variant = DropoutVariant::flash;
  AttentionKind kind = AttentionKind::flash;
  bool same_mask = false, other_sums = false;  // other_sums: in two micro-batches, products by Eigen
  int base = 0;                                // the row that it is compared with
  int layers = 0, embd = 0;                    // 0: as the flags say
};
// Rows of the table by their places, those with p / 2 and 2 p beside kAllSites and kFused.
enum RowIndex : size_t {
  kNoDropout = 0,
  kAllSites = 2,
  kFused = 5,  // attention's dropout alone, p
  kBeforeSoftmax = 7,
  kDiagonalKept,
  kRateByRow,
  kUnscaled,
  kConstantSeed,
  kPlainKernel,
  kStoredMask,
  kOtherSums
};
std::vector<DropoutRow> dropout_rows(const DropoutFlags& flags);
// For each size: without dropout, and with it at all sites.
std::vector<DropoutRow> size_rows(const DropoutFlags& flags);

// The curves of a row, one for each seed.
struct RowCurves {
  explicit RowCurves(const nlohmann::ordered_json& json);

  size_t seeds() const { return val.size(); }
  std::vector<double> best() const;      // the lowest validation loss
  std::vector<double> last_val() const;  // at the last step
  std::vector<double> last_train() const;
  std::vector<double> gap() const;  // between these two

  double parameters = 0;
  std::vector<double> steps;
  std::vector<std::vector<double>> train, val;  // by seed and step
};

// Mean over seeds, standard deviation, and half of the 95% interval of the mean (Student's t).
struct SeedStatistics {
  explicit SeedStatistics(const std::vector<double>& values);
  bool is_below(double limit) const { return mean + band < limit; }
  bool is_above(double limit) const { return mean - band > limit; }
  std::string text() const;  // "1.234 ± 0.005", with the band

  double mean = 0, deviation = 0, band = 0;
};
// a - b, seed by seed.
SeedStatistics difference_of(const std::vector<double>& a, const std::vector<double>& b);

struct DropoutFindings {
  std::vector<DropoutRow> rows, size_rows;
  std::vector<RowCurves> curves{}, size_curves{};
  std::vector<nlohmann::ordered_json> moments{};  // of each kernel and variant: moments_unit()
  nlohmann::ordered_json rates{};                 // rates_unit()
  double entropy = 0;                             // 0: unknown
  size_t train_tokens = 0;
};
// DropoutMoments, with the row's name: first the fused kernel's, then each variant's.
std::vector<StudyUnit> moments_units(const DropoutFlags& flags);
// How often the fused kernel keeps what: [rate, its standard error] on the diagonal and elsewhere; the rows' rates.
StudyUnit rates_unit(const DropoutFlags& flags);
// study.md without its head; the pictures, by name; the figures.
std::string dropout_page(const DropoutFlags& flags, const DropoutFindings& findings);
std::vector<std::pair<std::string, std::string>> dropout_pictures(const DropoutFlags& flags,
                                                                  const DropoutFindings& findings);
nlohmann::ordered_json dropout_json(const DropoutFlags& flags, const DropoutFindings& findings);

}  // namespace glint
