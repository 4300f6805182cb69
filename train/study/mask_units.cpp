#include "train/study/mask.h"

#include <algorithm>

#include "src/measure/attention_mask.h"
#include "src/measure/mask_tests.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

constexpr int kLags = 64;

// The element positions that the kernel of the device keeps, of a mask of the set.
void draw_by_kernel(const Device& device, DType dtype, const MaskStudyFlags& f, int mask,
                    const std::function<void(int64_t, int64_t)>& kept) {
  const MaskPlace place = place_of(f.axes, f.seed, mask);
  const auto head = static_cast<uint64_t>(place.b * f.axes.heads + place.h);
  glint::draw_by_kernel(device, dtype, AttentionKind::flash,
                        {f.axes.T, f.axes.T, f.p(), {f.seed, place.rng.offset + place.site, 0, head}}, kept);
}

ordered_json json_of(const MaskTest& test) {
  return {{"what", test.what}, {"measured", test.measured}, {"expected", test.expected}, {"p", test.p}};
}

// Masks by FlashAttention-2's own code (its dropout.h, compiled for the host), with p = 0.1 and kFlashAttention2Seed.
struct OutsideMask {
  const char* flags;
  uint64_t offset, sequence_head;
  int64_t rows, cols;
  int kept;
  const char* sha256;
};
constexpr OutsideMask kOutsideMasks[] = {
    {"--rows 32 --cols 64", 0, 0, 32, 64, 1835, "4f36c0978db842b1956f1eb30925f6b9810b3777a96475daa7afcc3671fddb97"},
    {"--batch-index 1 --head 2 --heads 3 --offset 64 --rows 32 --cols 64", 64, 5, 32, 64, 1852,
     "f75d1d01520a5f994f0d9071d5b98ac8ffd60e5d4f8c55914b2b49359beb5b2e"},
    {"--rows 512 --cols 512", 0, 0, 512, 512, 235568, kFlashAttention2Sha256}};

}  // namespace

// All tests of the masks themselves.
ordered_json test_masks(const MaskStudyFlags& f, const PartDone& part_done) {
  MaskSet set(f.axes);
  const Device device = device_of(f.source);
  for (int mask = 0; mask < f.axes.masks(); ++mask) {
    if (f.source == MaskSource::definition) draw_mask(set, mask, f.p(), place_of(f.axes, f.seed, mask));
    else draw_by_kernel(device, dtype_of(f.dtype), f, mask, [&](int64_t i, int64_t j) { set.keep(mask, i, j); });
    part_done(0.5 * (mask + 1) / f.axes.masks());
  }
  const double rate = f.rate();
  std::vector<MaskTest> tests = {test_rate(set, rate), test_diagonal(set, rate)};
  ordered_json result;
  for (const MaskAxis axis : kMaskAxes) {
    const MaskRates rates = rates_over(set, axis, rate);
    const std::string name = name_of(axis);
    const auto places = static_cast<double>(rates.dropped.size());
    tests.push_back({"rates by " + name + ": chi-square", rates.chi_square, places, rates.p});
    tests.push_back({"rates by " + name + ": outside the band", static_cast<double>(rates.misses),
                     rates.expected_misses, rates.p_misses});
    result["rates"].push_back({{"axis", name}, {"dropped", rates.dropped}, {"half_band", rates.half_band}});
  }
  part_done(0.6);
  for (const MaskAxis axis : {MaskAxis::row, MaskAxis::column}) {
    std::vector<MaskCorrelation> lags;
    ordered_json values = ordered_json::array(), pairs = values;
    for (int lag = 1; lag < std::min(f.axes.T, kLags + 1); ++lag) {
      lags.push_back(correlation(set, axis, lag, rate));
      values.push_back(lags.back().correlation), pairs.push_back(lags.back().pairs);
      part_done(0.6 + (axis == MaskAxis::column ? 0.15 : 0) + 0.15 * lag / kLags);
    }
    const std::string name = name_of(axis);
    tests.push_back(test_correlation("correlation of neighbouring " + name + "s", lags[0]));
    tests.push_back(test_lags(str_cat("correlation of ", name, "s up to ", lags.size(), " apart: chi-square"), lags));
    result["lags"].push_back({{"axis", name}, {"correlation", values}, {"pairs", pairs}});
  }
  const auto add = [&](const std::string& what, MaskAxis axis, int extent, int lag) {
    if (lag < extent) tests.push_back(test_correlation("correlation of " + what, correlation(set, axis, lag, rate)));
  };
  add("neighbouring heads", MaskAxis::head, f.axes.heads, 1);
  add("neighbouring sequences", MaskAxis::sequence, f.axes.sequences, 1);
  add("neighbouring layers", MaskAxis::layer, f.axes.layers, 1);
  add("consecutive steps", MaskAxis::step, f.axes.steps, 1);
  if (f.ranks > 1)  // which have consecutive parts of the batch
    add(str_cat("the same sequence of neighbouring ranks, of ", f.ranks), MaskAxis::sequence, f.axes.sequences,
        f.axes.sequences / f.ranks);
  if (f.axes.masks() > 1) tests.push_back(test_all_pairs(set, rate));
  for (const MaskTest& test : tests) result["tests"].push_back(json_of(test));
  return result;
}

ordered_json test_bytes(const MaskStudyFlags& f) {
  const auto attention = count_attention_bytes(f.axes, f.seed), rows = count_row_bytes(f.axes, f.seed);
  return {{"attention", attention},
          {"rows", rows},
          {"tests",
           {json_of(test_even("random bytes of attention: chi-square", attention)),
            json_of(test_even("random bytes of embedding and residual dropout: chi-square", rows))}}};
}

// Some masks by the kernel, element by element against the definition, in both number formats.
ordered_json compare_kernel(const MaskStudyFlags& f, const PartDone& part_done) {
  const Device device = device_of(f.source);
  ordered_json result = ordered_json::array();
  const int compared = std::min(f.axes.masks(), 8);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    uint64_t different = 0;
    for (int n = 0; n < compared; ++n) {
      const int mask = static_cast<int>(int64_t{n} * f.axes.masks() / compared);
      MaskSet expected({.T = f.axes.T}), got({.T = f.axes.T});
      draw_mask(expected, 0, f.p(), place_of(f.axes, f.seed, mask));
      draw_by_kernel(device, dtype, f, mask, [&](int64_t i, int64_t j) { got.keep(0, i, j); });
      for (int w = 0; w < f.axes.T * got.words(); ++w)
        different += static_cast<uint64_t>(std::popcount(got.row(0, 0)[w] ^ expected.row(0, 0)[w]));
      part_done((n + 1.0) / compared);
    }
    result.push_back({{"dtype", dtype == DType::bf16 ? "bf16" : "fp32"},
                      {"elements", int64_t{compared} * f.axes.T * f.axes.T},
                      {"different", different}});
  }
  return result;
}

ordered_json compare_outside() {
  ordered_json result = ordered_json::array();
  for (const auto& [flags, offset, sequence_head, rows, cols, kept, expected] : kOutsideMasks) {
    HeadMask mask(rows, cols);
    mask.draw(0.1f, kFlashAttention2Seed, offset, sequence_head);
    const std::string sha256 = mask.sha256();
    result.push_back({{"flags", flags},
                      {"kept", mask.count()},
                      {"sha256", sha256},
                      {"same", mask.count() == kept && sha256 == expected}});
  }
  return result;
}

}  // namespace glint
