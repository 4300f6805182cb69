// glint study mask: its files, and what it says about flags that it can't use.
#include <algorithm>

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;

TEST_CASE("study mask: a page, figures and pictures; the masks are random, and FlashAttention-2's") {
  test::ScratchFolder folder;
  for (const char* device : {"none", "cpu"}) {
    const std::string out = folder / device;
    const auto ran = run_program({"study", "mask", "--quick", "--context", "64", "--device", device, "--out", out});
    INFO(ran.out, ran.err);
    REQUIRE(ran.code == 0);
    CHECK(ran.out.starts_with("None of 26 tests tells the masks from random ones"));
    const auto json = nlohmann::json::parse(test::read_file(out + "/mask.json"));
    REQUIRE(json["tests"].size() == 26);
    for (const auto& row : json["tests"]) {
      INFO(row.dump());
      CHECK(row["p"] >= 0);
      CHECK(row["corrected_p"] >= row["p"]);
      CHECK(row["random"] == true);
    }
    CHECK(json["tests"][0]["expected"].get<double>() == doctest::Approx(26 / 256.0));
    REQUIRE(json["kernel"].size() == 2);
    for (const auto& compared : json["kernel"]) CHECK(compared["different"] == 0);
    REQUIRE(json["flash_attention_2"].size() == 3);
    for (const auto& mask : json["flash_attention_2"]) CHECK(mask["same"] == true);
    const std::string page = test::read_file(out + "/study.md");
    for (const char* picture : {"rates.svg", "lags.svg", "bytes.svg", "rate.svg"}) {
      INFO(picture);
      CHECK(page.find(str_cat("(", picture, ")")) != std::string::npos);
      const std::string svg = test::read_file(out + "/" + picture);
      CHECK(svg.starts_with("<svg "));
      CHECK(svg.find("nan") == std::string::npos);
    }
  }
}

TEST_CASE("study mask: wrong flags are one line") {
  test::ScratchFolder folder;
  const std::pair<test::Arguments, std::string> cases[] = {
      {{"--dropout", "0"}, "--dropout 0 is not in (0, 1)"},
      {{"--dropout", "1"}, "--dropout 1 is not in (0, 1)"},
      {{"--dropout", "1e-9"}, "--dropout 1e-09 drops nothing"},
      {{"--context", "100"}, "--context 100: give a multiple of 64"},
      {{"--heads", "0"}, "--heads 0: give a number"},
      {{"--ranks", "3"}, "--ranks 3 does not divide --batch 8"},
      {{"--heads", "1000"}, "at most 4096"}};
  for (const auto& wrong : cases) {
    const auto& flags = wrong.first;
    const auto& message = wrong.second;
    const auto ran = run_program(test::join({"study", "mask", "--out", folder / "study"}, flags));
    INFO(message, ": ", ran.err);
    CHECK(ran.code != 0);
    CHECK(ran.err.find(message) != std::string::npos);
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    CHECK(!std::filesystem::exists(folder / "study"));
  }
}
