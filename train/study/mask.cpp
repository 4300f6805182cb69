// glint study mask: whether dropout's masks are random enough, and the right ones.
#include "train/study/mask.h"

#include <algorithm>

#include "src/measure/statistics.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

constexpr double kLevel = 1e-3;  // of all tests together

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

// The tests with p-values corrected for their number; `rejected` counts those that are below the level.
std::string test_table(ordered_json& tests, int& rejected) {
  std::vector<double> p_values;
  for (const ordered_json& test : tests) p_values.push_back(test["p"]);
  const std::vector<double> corrected = holm(p_values);
  std::vector<std::vector<std::string>> rows = {{"test", "measured", "expected", "p", "corrected", "outcome"}};
  for (size_t n = 0; n < tests.size(); ++n) {
    const bool random = corrected[n] >= kLevel;
    rejected += !random;
    tests[n]["corrected_p"] = corrected[n], tests[n]["random"] = random;
    rows.push_back({tests[n]["what"], formatted("%.5g", tests[n]["measured"]), formatted("%.5g", tests[n]["expected"]),
                    formatted("%.2g", p_values[n]), formatted("%.2g", corrected[n]),
                    random ? "as random" : "**not random**"});
  }
  return markdown_table(rows);
}

void study_mask(const MaskStudyFlags& f) {
  validate(f);
  const Device device = device_of(f.source);
  Study study("mask", f, f.settings(), device.name());
  const std::vector<ordered_json> results = study.run(
      {{.name = "masks", .cost = 6, .work = [&](const auto& part_done) { return test_masks(f, part_done); }},
       {.name = "bytes", .cost = 2, .work = [&](const auto&) { return test_bytes(f); }},
       {.name = "kernel", .cost = 1, .work = [&](const auto& part_done) { return compare_kernel(f, part_done); }},
       {.name = "FlashAttention-2", .cost = 0.1, .work = [](const auto&) { return compare_outside(); }}});
  ordered_json tests = results[0]["tests"];
  for (const ordered_json& test : results[1]["tests"]) tests.push_back(test);
  int rejected = 0;
  const std::string table = test_table(tests, rejected);
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
  const std::string outcome =
      str_cat(rejected ? str_cat("**", rejected, " of ", tests.size(), " tests notice something**")
                       : str_cat("None of ", tests.size(), " tests tells the masks from random ones"),
              "; the kernel's masks and FlashAttention-2's are ", same ? "" : "**not** ", "the same, bit for bit.\n");
  const double drawn = static_cast<double>(f.axes.elements());
  const std::string page = str_cat(
      outcome, "\n", f.axes.masks(), " masks of ", f.axes.T, " x ", f.axes.T, ", ", drawn / 1e6, " million elements, ",
      f.source == MaskSource::definition ? "as kernels/dropout.h defines them" : "as the attention kernel applies them",
      ".\np = ", f.dropout, " drops ", 255 - keep_rule(f.p()).threshold, "/256 = ", f.rate(),
      " of them; this rate is expected below. p-values are two-sided, and corrected for\ntheir number by Holm's ",
      "method: below ", kLevel, " a test notices something, which one study in ", 1 / kLevel,
      " of good masks would\nshow. Correlations are of elements that are kept.\n\n", table,
      "\n![Rates with bands](rates.svg)\n\n![Correlation over the distance](lags.svg)\n\n![Bytes](bytes.svg)\n\n",
      "## The kernel\n\nMasks that attention on ", device.name(), " applies, against the definition:\n", kernel,
      "\n## FlashAttention-2's own masks\n\nThe sums of masks by its own code, compiled for the host:\n", outside,
      "\n## The rate has 8 bits\n\n",
      "The threshold is floor(255 (1 - p)), as in FlashAttention-2; the scale is 1 / (1 - p), so the mean of the\n",
      "output is off by the last column.\n\n", rate_table(f.p()), "\n![The 8-bit rate](rate.svg)\n");
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
  write_out(outcome);
  study.write_page("Dropout's masks", page);
  GLINT_REQUIRE(same && !rejected, "the masks are not as expected: see ", f.out, "/study.md");
}

}  // namespace

void register_study_mask(CLI::App& studies) {
  const auto f = std::make_shared<MaskStudyFlags>();
  StudyCommand command(studies, "mask", "Whether dropout's masks are random enough, and the right ones", *f);
  command.add("dropout", f->dropout, "Drop probability");
  command.add("context", f->axes.T, "Tokens: rows and columns of a mask; a multiple of 64", 128);
  command.add("heads", f->axes.heads, "Query heads", 2);
  command.add("batch", f->axes.sequences, "Sequences of a step", 4);
  command.add("layers", f->axes.layers, "Layers whose masks are drawn", 2);
  command.add("steps", f->axes.steps, "Steps", 4);
  command.add("ranks", f->ranks, "That share the batch, to correlate their masks");
  command.add("seed", f->seed, "Of the masks");
  command.add("device", f->source, "none: masks as defined; else those that this device's attention applies");
  command.add("dtype", f->dtype, "Number format of the kernel, with --device");
  command.run([f] { study_mask(*f); });
}

}  // namespace glint
