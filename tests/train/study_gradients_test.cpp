// glint study gradients: the bounds that it claims, on a model that it trains itself and on a run.
#include <algorithm>
#include <set>

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;

TEST_CASE("study gradients: errors, orders and gradients are within their bounds") {
  test::ScratchFolder folder;
  const auto trained =
      run_program(test::words_of("train --layers 3 --heads 4 --kv-heads 2 --embd 32 --context 32 --steps 3 --batch 4 "
                                 "--eval-every 0 --quiet --device cpu --dropout 0.1 --out " +
                                 folder / "run"));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  for (const bool of_run : {false, true}) {
    const std::string out = folder / (of_run ? "of_run" : "own");
    test::Arguments arguments = {"study", "gradients", "--quick", "--threads", "2", "--random-context",
                                 "64",    "--out",     out};
    if (of_run) arguments = test::join(arguments, {"--run", folder / "run"});
    const auto ran = run_program(arguments);
    INFO(ran.out, ran.err);
    REQUIRE(ran.code == 0);
    CHECK(ran.out.find("**no**") == std::string::npos);
    const auto json = nlohmann::json::parse(test::read_file(out + "/gradients.json"));
    const size_t layers = of_run ? 3 : 2;
    CHECK(json["layers"].size() == 3 * 6 * layers);  // lengths, kernels
    CHECK(json["random"].size() == 6);
    std::set<std::string> ways;
    for (const auto& way : json["gradient"]) ways.insert(way["way"].get<std::string>());
    for (const char* way : {"the same again", "recompute", "1 thread", "2 micro-batches", "4 ranks",
                            "reference attention", "bf16", "other dropout masks", "another batch"})
      CHECK_MESSAGE(ways.contains(way), way);
    for (const auto& way : json["gradient"]) {
      INFO(way.dump());
      if (way["kind"] == "same") CHECK(way["distance"] == 0);
      else CHECK(way["distance"] >= 0);
      if (way["kind"] == "rounding") CHECK(way["distance"] < 1e-5);
      if (way["kind"] == "noise") CHECK(way["distance"] > 0.02);
    }
    const std::string page = test::read_file(out + "/study.md");
    for (const char* picture : {"fp32.svg", "bf16.svg", "random.svg", "model.svg"}) {
      INFO(picture);
      CHECK(page.find(str_cat("(", picture, ")")) != std::string::npos);
      const std::string svg = test::read_file(out + "/" + picture);
      CHECK(svg.starts_with("<svg "));
      CHECK(svg.find("nan") == std::string::npos);
    }
  }
}

TEST_CASE("study gradients: wrong flags are one line") {
  test::ScratchFolder folder;
  const std::pair<test::Arguments, std::string> cases[] = {
      {{"--run", folder / "nowhere"}, "nowhere"},
      {{"--run", folder / "nowhere", "--layers", "2"}, "--layers"},
      {{"--layers", "0"}, "--layers 0"},
      {{"--dropout", "1"}, "--dropout 1 is not in [0, 1)"},
      {{"--lengths", "512"}, "--lengths 512: the model's context is 256"},
      {{"--random-context", "1"}, "--random-context 1: give numbers"},
      {{"--batch", "0"}, "--batch 0"}};
  for (const auto& wrong : cases) {
    const auto& flags = wrong.first;
    const auto& message = wrong.second;
    const auto ran = run_program(test::join({"study", "gradients", "--out", folder / "study"}, flags));
    INFO(message, ": ", ran.err);
    CHECK(ran.code != 0);
    CHECK(ran.err.find(message) != std::string::npos);
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    CHECK(!std::filesystem::exists(folder / "study"));
  }
}
