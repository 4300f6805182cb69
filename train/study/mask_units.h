// What `glint study mask` measures, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "src/measure/mask_set.h"
#include "train/study/study.h"

namespace glint {

enum class StudiedMasks { defined, of_cpu, of_cuda };

struct MaskStudyFlags : StudyFlags {
  MaskAxes axes{.steps = 8, .layers = 4, .sequences = 8, .heads = 4, .T = 512};
  int ranks = 2;
  double dropout = 0.1;
  uint64_t seed = 1;
  StudiedMasks source = StudiedMasks::defined;
  DtypeChoice dtype = DtypeChoice::fp32;

  float p() const { return static_cast<float>(dropout); }
  double rate() const { return 1 - (keep_rule(p()).threshold + 1) / 256.0; }
};

// The device whose attention applies the masks.
Device device_of(const MaskStudyFlags& f);

// {tests: [{what, measured, expected, p}], rates: [{axis, dropped, half_band}], lags: [{axis, correlation, pairs}]}
nlohmann::ordered_json test_masks(const MaskStudyFlags& f, const StudyUnit::PartDone& part_done);
// {attention, rows: how often each byte occurs, tests}
nlohmann::ordered_json test_bytes(const MaskStudyFlags& f);
// Some masks by the kernel, element by element against the definition: [{dtype, elements, different}]
nlohmann::ordered_json compare_kernel(const MaskStudyFlags& f, const StudyUnit::PartDone& part_done);
// Masks of FlashAttention-2's own code: [{flags, kept, sha256, same}]
nlohmann::ordered_json compare_outside();

}  // namespace glint
