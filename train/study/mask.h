// `glint study mask`: what it measures, as JSON, and the pictures of that.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "src/measure/mask_set.h"
#include "train/head_mask.h"
#include "train/study/study.h"

namespace glint {

struct MaskStudyFlags : StudyFlags {
  MaskAxes axes{.steps = 8, .layers = 4, .sequences = 8, .heads = 4, .T = 512};
  int ranks = 2;
  double dropout = 0.1;
  uint64_t seed = 1;
  MaskSource source = MaskSource::definition;
  DtypeChoice dtype = DtypeChoice::fp32;

  float p() const { return static_cast<float>(dropout); }
  double rate() const { return 1 - (keep_rule(p()).threshold + 1) / 256.0; }
};

// {tests: [{what, measured, expected, p}], rates: [{axis, dropped, half_band}], lags: [{axis, correlation, pairs}]}
nlohmann::ordered_json test_masks(const MaskStudyFlags& f, const PartDone& part_done);
// {attention, rows: how often each byte occurs, tests}
nlohmann::ordered_json test_bytes(const MaskStudyFlags& f);
// Some masks by the kernel, element by element against the definition: [{dtype, elements, different}]
nlohmann::ordered_json compare_kernel(const MaskStudyFlags& f, const PartDone& part_done);
// Masks of FlashAttention-2's own code: [{flags, kept, sha256, same}]
nlohmann::ordered_json compare_outside();

// Of the rates above; rate: of dropping, as expected.
std::string mask_rates_picture(const nlohmann::ordered_json& rates, double rate);
std::string mask_lags_picture(const nlohmann::ordered_json& lags);
std::string mask_bytes_picture(const nlohmann::ordered_json& bytes);
// What an 8-bit rate is off by, over p.
std::string mask_8bit_picture();

}  // namespace glint
