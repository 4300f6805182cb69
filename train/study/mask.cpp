// glint study mask: whether dropout's masks are random enough, and the right ones.
#include <algorithm>
#include <cmath>

#include "src/measure/attention_mask.h"
#include "src/measure/mask_tests.h"
#include "src/measure/statistics.h"
#include "src/memory.h"
#include "train/sha256.h"
#include "train/study/mask_pictures.h"
#include "train/study/study.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

enum class MaskSource { definition, cpu, cuda };

struct MaskStudyFlags : StudyFlags {
  MaskAxes axes{.steps = 8, .layers = 2, .sequences = 8, .heads = 4, .T = 256};
  int ranks = 2;
  double dropout = 0.1;
  uint64_t seed = 1;
  MaskSource source = MaskSource::definition;
  DtypeChoice dtype = DtypeChoice::fp32;

  float p() const { return static_cast<float>(dropout); }
  double rate() const { return 1 - (keep_rule(p()).threshold + 1) / 256.0; }
};

constexpr double kLevel = 1e-3;  // of all tests together
constexpr int kLags = 64;

void validate(const MaskStudyFlags& f) {
  const std::pair<const char*, int> counts[] = {{"--steps", f.axes.steps},     {"--layers", f.axes.layers},
                                                {"--batch", f.axes.sequences}, {"--heads", f.axes.heads},
                                                {"--context", f.axes.T / 64},  {"--ranks", f.ranks}};
  for (const auto& [name, count] : counts)
    GLINT_REQUIRE(count >= 1 && count <= 1024, name, " ", count, ": give a number from 1 to 1024");
  GLINT_REQUIRE(f.axes.T % 64 == 0, "--context ", f.axes.T, ": give a multiple of 64");
  GLINT_REQUIRE(f.dropout > 0 && f.p() < 1, "--dropout ", f.dropout, " is not in (0, 1)");
  GLINT_REQUIRE(f.rate() > 0, "--dropout ", f.dropout, " drops nothing: the rate is a multiple of 1/256");
  GLINT_REQUIRE(f.axes.sequences % f.ranks == 0, "--ranks ", f.ranks, " does not divide --batch ", f.axes.sequences);
  constexpr double kMost = 1 << 30;
  const double masks = 1.0 * f.axes.steps * f.axes.layers * f.axes.sequences * f.axes.heads;
  GLINT_REQUIRE(
      masks <= 4096 && masks * f.axes.T * f.axes.T <= kMost, masks, " masks of ", f.axes.T, " x ", f.axes.T,
      ": at most 4096 and 2^30 elements; give fewer --steps, --layers, --batch or --heads, or a shorter --context");
}

Device device_of(const MaskStudyFlags& f) {
  return f.source == MaskSource::cuda ? Device::cuda() : Device(cpu_context(0, MatmulChoice::automatic));
}

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

// All tests of the masks themselves.
ordered_json test_masks(const MaskStudyFlags& f, const StudyUnit::PartDone& part_done) {
  MaskSet set(f.axes);
  const Device device = device_of(f);
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
ordered_json compare_kernel(const MaskStudyFlags& f, const StudyUnit::PartDone& part_done) {
  const Device device = device_of(f);
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

// Masks by FlashAttention-2's own code (its dropout.h, compiled for the host), with p = 0.1: the sums of the bits,
// packed row by row, least significant bit first.
struct OutsideMask {
  const char* flags;
  uint64_t offset, b, h, H;
  uint32_t rows, columns;
  int kept;
  const char* sum;
};
constexpr uint64_t kOutsideSeed = 0x1234567890abcdef;
constexpr OutsideMask kOutsideMasks[] = {
    {"--rows 32 --cols 64", 0, 0, 0, 1, 32, 64, 1835,
     "4f36c0978db842b1956f1eb30925f6b9810b3777a96475daa7afcc3671fddb97"},
    {"--batch-index 1 --head 2 --heads 3 --offset 64 --rows 32 --cols 64", 64, 1, 2, 3, 32, 64, 1852,
     "f75d1d01520a5f994f0d9071d5b98ac8ffd60e5d4f8c55914b2b49359beb5b2e"},
    {"--rows 512 --cols 512", 0, 0, 0, 1, 512, 512, 235568,
     "e161287a7f1fa073c6ff6cff582f7b0de729de40eba9e41b1f7142d9d4427f2d"}};

ordered_json compare_outside() {
  ordered_json result = ordered_json::array();
  for (const OutsideMask& mask : kOutsideMasks) {
    std::vector<uint8_t> bits((size_t{mask.rows} * mask.columns + 7) / 8);
    int kept = 0;
    for (uint32_t n = 0; n < mask.rows * mask.columns; ++n) {
      if (!keep_attention(kOutsideSeed, mask.offset, mask.b * mask.H + mask.h, n / mask.columns, n % mask.columns,
                          keep_rule(0.1f).threshold))
        continue;
      bits[n / 8] = static_cast<uint8_t>(bits[n / 8] | 1 << (n % 8));
      ++kept;
    }
    const std::string sum = sha256(bits);
    result.push_back(
        {{"flags", mask.flags}, {"kept", kept}, {"sha256", sum}, {"same", kept == mask.kept && sum == mask.sum}});
  }
  return result;
}

std::string rate_table(float own) {
  std::vector<std::vector<std::string>> rows = {{"p", "threshold", "dropped", "distance from p", "kept / (1 - p) - 1"}};
  std::vector<float> rates = {.05f, .1f, .125f, .15f, .2f, .25f, .3f, .4f, .5f};
  if (std::find(rates.begin(), rates.end(), own) == rates.end()) rates.push_back(own);
  for (const float p : rates) {
    const int threshold = keep_rule(p).threshold;
    const double kept = (threshold + 1) / 256.0;
    rows.push_back({formatted("%g", p), str_cat(threshold), str_cat(255 - threshold, "/256"),
                    formatted("%+.4f", 1 - kept - p),
                    formatted("%+.2f%%", 100 * (kept / (1 - static_cast<double>(p)) - 1))});
  }
  return markdown_table(rows);
}

// The tests with p-values corrected for their number; `noticed` counts those that are below the level.
std::string test_table(ordered_json& tests, int& noticed) {
  std::vector<double> p_values;
  for (const ordered_json& test : tests) p_values.push_back(test["p"]);
  const std::vector<double> corrected = holm(p_values);
  std::vector<std::vector<std::string>> rows = {{"test", "measured", "expected", "p", "corrected", "verdict"}};
  for (size_t n = 0; n < tests.size(); ++n) {
    const bool random = corrected[n] >= kLevel;
    noticed += !random;
    tests[n]["corrected_p"] = corrected[n], tests[n]["random"] = random;
    rows.push_back({tests[n]["what"], formatted("%.5g", tests[n]["measured"]), formatted("%.5g", tests[n]["expected"]),
                    formatted("%.2g", p_values[n]), formatted("%.2g", corrected[n]),
                    random ? "as random" : "**not random**"});
  }
  return markdown_table(rows);
}

void study_mask(const MaskStudyFlags& f) {
  validate(f);
  const Device device = device_of(f);
  constexpr const char* kSources[] = {"none", "cpu", "cuda"};
  Study study("mask", f,
              {{"dropout", f.dropout},
               {"context", f.axes.T},
               {"heads", f.axes.heads},
               {"batch", f.axes.sequences},
               {"layers", f.axes.layers},
               {"steps", f.axes.steps},
               {"ranks", f.ranks},
               {"seed", f.seed},
               {"device", kSources[static_cast<int>(f.source)]},
               {"dtype", f.dtype == DtypeChoice::bf16 ? "bf16" : "fp32"}},
              device.name());
  const std::vector<ordered_json> results = study.run(
      {{.name = "masks", .cost = 6, .work = [&](const auto& part_done) { return test_masks(f, part_done); }},
       {.name = "bytes", .cost = 2, .work = [&](const auto&) { return test_bytes(f); }},
       {.name = "kernel", .cost = 1, .work = [&](const auto& part_done) { return compare_kernel(f, part_done); }},
       {.name = "FlashAttention-2", .cost = 0.1, .work = [](const auto&) { return compare_outside(); }}});
  ordered_json tests = results[0]["tests"];
  for (const ordered_json& test : results[1]["tests"]) tests.push_back(test);
  int noticed = 0;
  const std::string table = test_table(tests, noticed);
  bool same = true;
  std::string kernel, outside;
  for (const ordered_json& compared : results[2]) {
    same = same && compared["different"] == 0;
    kernel += str_cat("- ", compared["dtype"].get<std::string>(), ": ", compared["different"].get<uint64_t>(), " of ",
                      compared["elements"].get<uint64_t>(), " elements differ\n");
  }
  for (const ordered_json& mask : results[3]) {
    same = same && mask["same"].get<bool>();
    outside +=
        str_cat("- `glint mask --p 0.1 --seed 0x1234567890abcdef ", mask["flags"].get<std::string>(),
                "`: ", mask["kept"].get<int>(), " kept, sha256 ", mask["sha256"].get<std::string>().substr(0, 16),
                "..., ", mask["same"].get<bool>() ? "as FlashAttention-2's" : "**not FlashAttention-2's**", "\n");
  }
  const std::string verdict =
      str_cat(noticed ? str_cat("**", noticed, " of ", tests.size(), " tests notice something**")
                      : str_cat("None of ", tests.size(), " tests tells the masks from random ones"),
              "; the kernel's masks and FlashAttention-2's are ", same ? "" : "**not** ", "the same, bit for bit.\n");
  const double drawn = static_cast<double>(f.axes.elements());
  std::string page = str_cat(
      verdict, "\n", f.axes.masks(), " masks of ", f.axes.T, " x ", f.axes.T, ", ", drawn / 1e6, " million elements, ",
      f.source == MaskSource::definition ? "as kernels/dropout.h defines them" : "as the attention kernel applies them",
      ". p = ", f.dropout, " drops ", 255 - keep_rule(f.p()).threshold, "/256 = ", f.rate(),
      " of them; this rate is expected below. p-values are two-sided and corrected for their number by Holm's method;\n",
      "below ", kLevel, " a test notices something, which one study in ", 1 / kLevel,
      " of good masks would show. Correlations are of elements that are kept.\n\n", table,
      "\n![Rates with bands](rates.svg)\n\n![Correlation over the distance](lags.svg)\n\n![Bytes](bytes.svg)\n\n",
      "## The kernel\n\nMasks that attention on ", device.name(), " applies, against the definition:\n", kernel,
      "\n## FlashAttention-2's own masks\n\nThe sums of masks by its own code, compiled for the host:\n", outside,
      "\n## The rate has 8 bits\n\nThe threshold is floor(255 (1 - p)), as in FlashAttention-2; the scale is 1 / (1 - p),\n",
      "so the output's mean is off by the last column.\n\n", rate_table(f.p()), "\n![The 8-bit rate](rate.svg)\n");
  study.write_json("mask.json", ordered_json{{"tests", tests},
                                             {"rates", results[0]["rates"]},
                                             {"lags", results[0]["lags"]},
                                             {"bytes", results[1]},
                                             {"kernel", results[2]},
                                             {"flash_attention_2", results[3]}});
  study.write("rates.svg", mask_rates_picture(results[0]["rates"], f.rate()));
  study.write("lags.svg", mask_lags_picture(results[0]["lags"]));
  study.write("bytes.svg", mask_bytes_picture(results[1]));
  study.write("rate.svg", mask_8bit_picture());
  write_out(verdict);
  study.write_page("Dropout's masks", page);
  GLINT_REQUIRE(same && !noticed, "the masks are not as expected: see ", f.out, "/study.md");
}

}  // namespace

void register_study_mask(CLI::App& studies) {
  const auto f = std::make_shared<MaskStudyFlags>();
  CLI::App& command = add_study(studies, "mask", "Whether dropout's masks are random enough, and the right ones", *f);
  add_option(command, "--dropout", f->dropout, "Drop probability");
  add_option(command, "--context", f->axes.T, "Tokens: rows and columns of a mask; a multiple of 64");
  add_option(command, "--heads", f->axes.heads, "Query heads");
  add_option(command, "--batch", f->axes.sequences, "Sequences of a step");
  add_option(command, "--layers", f->axes.layers, "Layers whose masks are drawn");
  add_option(command, "--steps", f->axes.steps, "Steps");
  add_option(command, "--ranks", f->ranks, "That share the batch, to correlate their masks");
  add_option(command, "--seed", f->seed, "Of the masks");
  add_choice(command, "--device", f->source, "none: masks as defined; else those that this device's attention applies",
             {{"none", MaskSource::definition}, {"cpu", MaskSource::cpu}, {"cuda", MaskSource::cuda}});
  add_choice(command, "--dtype", f->dtype, "Number format of the kernel, with --device",
             {{"fp32", DtypeChoice::fp32}, {"bf16", DtypeChoice::bf16}});
  command.callback([&command, f] {
    quick_value(command, *f, "--context", f->axes.T, 128);
    quick_value(command, *f, "--heads", f->axes.heads, 2);
    quick_value(command, *f, "--batch", f->axes.sequences, 4);
    quick_value(command, *f, "--steps", f->axes.steps, 4);
    study_mask(*f);
  });
}

}  // namespace glint
