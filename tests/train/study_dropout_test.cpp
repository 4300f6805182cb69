// glint study dropout: each of its claims as an inequality, in a small study; work side by side.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "src/measure/dropout_moments.h"
#include "tests/train/run_program.h"
#include "train/study/training_run.h"

using namespace glint;
using test::run_program;

namespace {

using nlohmann::json;

const json& row_of(const json& rows, const std::string& name) {
  return *std::find_if(rows.begin(), rows.end(), [&](const json& row) { return row["name"] == name; });
}
double mean(const json& values) { return estimate_of(values.get<std::vector<double>>()).mean; }
// |estimate - value| in standard errors.
double errors_from(const json& estimate, double value) {
  return std::abs(estimate[0].get<double>() - value) / estimate[1].get<double>();
}

}  // namespace

TEST_CASE("study dropout: the claims") {
  test::ScratchFolder folder;
  const test::Arguments command =
      test::words_of("study dropout --quick --dropout 0.2 --seed 3 --out " + (folder / "study"));
  const auto ran = run_program(command);
  INFO(ran.out, ran.err);
  REQUIRE(ran.code == 0);
  const std::string text = test::read_file(folder / "study/dropout.json");
  const json study = json::parse(text);
  const json& rows = study["rows"];
  const auto gap = [&](const std::string& name) { return mean(row_of(rows, name)["gap"]); };

  {  // regularises, the more the higher p
    CHECK(gap("none") > gap("all sites, p 0.1") + 0.05);
    CHECK(gap("all sites, p 0.1") > gap("all sites, p 0.2") + 0.02);
    CHECK(gap("all sites, p 0.2") > gap("all sites, p 0.4") + 0.02);
    CHECK(gap("none") > gap("attention, p 0.2") + 0.02);
    const json& sizes = study["sizes"];
    REQUIRE(sizes.size() == 4);
    for (size_t n = 0; n < sizes.size(); n += 2) CHECK(mean(sizes[n]["gap"]) > mean(sizes[n + 1]["gap"]) + 0.05);
  }
  {  // acts after the softmax, with the same scale
    const json& moments = study["moments"];
    const double q = study["rates"]["q"];
    for (const char* name : {"fused kernel", "reference"}) {
      const json& m = row_of(moments, name);
      INFO(m.dump());
      CHECK(errors_from(m["scale"], q / 0.8) < 5);
      CHECK(errors_from(m["variance"], 1) < 5);
      CHECK(m["distance"] < 1.3 * m["chance"].get<double>());
      CHECK(m["same_lse"] == true);
    }
    CHECK(errors_from(row_of(moments, "unscaled")["scale"], q) < 5);
    const json& before = row_of(moments, "before the softmax");
    CHECK(before["distance"] > 2 * before["chance"].get<double>());
    CHECK(before["same_lse"] == false);
    CHECK(std::abs(before["lost_rows"].get<double>() - (1 - q)) < 0.05);
  }
  {  // treats the diagonal and all rows alike, by FlashAttention's mask
    const json& rates = study["rates"];
    CHECK(errors_from(rates["diagonal"], rates["q"]) < 5);
    CHECK(errors_from(rates["others"], rates["q"]) < 5);
    CHECK(rates["chance_of_row"] > 1e-5);
    CHECK(rates["golden"] == true);
  }
  {  // gives the numbers of the plain kernel, whose stored mask changes no bit
    CHECK(row_of(rows, "stored mask")["val"] == row_of(rows, "reference")["val"]);
    CHECK(row_of(rows, "stored mask")["train"] == row_of(rows, "reference")["train"]);
    for (const char* name : {"reference", "other sums"})
      CHECK(std::abs(mean(row_of(rows, name)["best"]) - mean(row_of(rows, "attention, p 0.2")["best"])) < 0.01);
    CHECK(row_of(rows, "before the softmax")["val"] != row_of(rows, "reference")["val"]);
  }
  {  // has pictures and a page, and keeps its runs
    const std::string page = test::read_file(folder / "study/study.md");
    for (const char* picture : {"dropout", "training", "variants", "distance", "sizes", "variance"}) {
      INFO(picture);
      CHECK(page.find(str_cat("(", picture, ".svg)")) != std::string::npos);
      const std::string svg = test::read_file(folder / "study/" + picture + ".svg");
      CHECK(svg.starts_with("<svg "));
      CHECK(svg.find("nan") == std::string::npos);
    }
    CHECK(page.find("CHANGES") == std::string::npos);
    CHECK(page.find("DIFFER") == std::string::npos);
    std::filesystem::remove(folder / "study/done/none.json");
    CHECK(run_program(command).code == 0);
    CHECK(test::read_file(folder / "study/dropout.json") == text);
  }
}

TEST_CASE("study dropout: wrong flags are one line") {
  test::ScratchFolder folder;
  const struct {
    std::string flags, message;
  } cases[] = {{"--dropout 0.5", "--dropout 0.5: give a number above 0 and below 0.5"},
               {"--dropout 0", "--dropout 0: "},
               {"--batch 3", "--batch 3: give an even number"},
               {"--steps 5", "--steps 5: give 20 or more"},
               {"--train-tokens 64", "--train-tokens 64: give more than --context 64"},
               {"--sizes 2x64,3y96", "--sizes 3y96: give layers and channels"},
               {"--sizes 2x30", "30"},
               {"--seeds 1", "--seeds"},
               {"--heads 3", "--embd 64 is not a multiple of --heads 3"},
               {"--data /nowhere.txt", "/nowhere.txt"}};
  for (const auto& wrong : cases) {
    const auto ran = run_program(test::words_of("study dropout --out " + (folder / "study") + " " + wrong.flags));
    INFO(wrong.flags, ": ", ran.err);
    CHECK(ran.code != 0);
    CHECK(ran.err.find(wrong.message) != std::string::npos);
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    CHECK(!std::filesystem::exists(folder / "study"));
  }
}

TEST_CASE("side_by_side: does all the work; ends early where a part or the caller throws") {
  std::vector<int> done(7);
  double most = 0;
  side_by_side(
      done.size(), 3, [&](double share) { most = std::max(most, share); },
      [&](size_t n, const PartDone& part_done) { part_done(0.5), done[n] += 1; });
  CHECK(done == std::vector<int>(7, 1));
  CHECK(most <= 0.5);
  const auto endless = [](size_t n, const PartDone& part_done) {
    for (;;) {
      part_done(0);
      GLINT_REQUIRE(n != 1, "part 1");
    }
  };
  CHECK(test::error_of([&] {
          side_by_side(
              2, 2, [](double) {}, endless);
        }) == "part 1");
  const auto forever = [](size_t, const PartDone& part_done) {
    for (;;) part_done(0);
  };
  CHECK(test::error_of([&] {
          side_by_side(
              3, 2, [](double) { throw UserError("asked to end"); }, forever);
        }) == "asked to end");
}
