// glint mask and glint bench on a GPU: emulated (kernels/simt/), or a real one in tests/gpu/.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/random.h"
#include "tests/train/cuda/cuda_program.h"

using namespace glint;
using namespace glint::test;

TEST_CASE("mask: the kernels drop what the definition says") {
  test::RandomInputs inputs(20261201);
  INFO("seed ", inputs.seed);
  for (const char* p : {"0.1", "0.5", "0.9", "0"}) {
    const Arguments mask = {"mask",
                            "--p",
                            p,
                            "--rows",
                            std::to_string(1 + inputs.below(90)),
                            "--cols",
                            std::to_string(1 + inputs.below(200)),
                            "--seed",
                            std::to_string(inputs.engine()),
                            "--offset",
                            std::to_string(0xffffffe0u + inputs.below(64)),
                            "--batch-index",
                            std::to_string(inputs.below(5)),
                            "--heads",
                            "3",
                            "--head",
                            std::to_string(inputs.below(3))};
    const auto defined = run_program(mask);
    REQUIRE(defined.code == 0);
    for (const Arguments& device : {Arguments{"--device", "cpu"},
                                    {"--device", "cpu", "--dtype", "bf16"},
                                    {"--device", "cuda"},
                                    {"--device", "cuda", "--dtype", "bf16"}}) {
      const auto ran = run_on("late guarded", join(mask, device));
      INFO(ran.err);
      CHECK(ran.code == 0);
      CHECK(ran.out == defined.out);
    }
  }
}

TEST_CASE("bench sample on a GPU") {
  for (const char* graph : {"true", "false"}) {
    const auto ran = run_on(
        "late guarded", {"bench",   "sample", "--device",  "cuda", "--dtype",  "bf16", "--layers", "1", "--heads", "2",
                         "--embd",  "16",     "--context", "9",    "--prompt", "3",    "--tokens", "6", "--count", "2",
                         "--top-k", "5",      "--repeats", "1",    "--graph",  graph,  "--json"});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    const auto figures = nlohmann::json::parse(ran.out);
    // Six tokens are over too soon for a figure: on a GPU a difference of two times may be below 0.
    const double rate = figures["tokens_per_s"].get<double>();
    CHECK(figures["tokens_per_s_of_all"].get<double>() == doctest::Approx(2 * rate));
    CHECK(std::signbit(figures["share_of_bandwidth"].get<double>()) == std::signbit(rate));
    // 12 * 16^2 + 3 * 16 weights of the layer and norms, 65 * 16 of the head; keys and values of 6 tokens of 2
    CHECK(figures["least_bytes"].get<int>() == 2 * (12 * 256 + 3 * 16 + 65 * 16 + 2 * 2 * 16 * 6));
  }
  CHECK(run_on("", {"bench", "sample", "--device", "cuda", "--context", "9", "--prompt", "3", "--tokens", "8"}).code ==
        1);
}

TEST_CASE("bench attention on a GPU") {
  for (const char* dtype : {"fp32", "bf16"}) {
    const auto ran =
        run_on("late guarded", {"bench", "attention", "--device", "cuda", "--dtype", dtype, "--context", "33",
                                "--heads", "2", "--head-size", "32", "--repeats", "1", "--dropout", "0.1", "--json"});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    const auto figures = nlohmann::json::parse(ran.out);
    CHECK(figures["forward_ms"].get<double>() > 0);
    CHECK(figures["backward_tflops"].get<double>() > 0);
    CHECK_FALSE(figures["device"].get<std::string>().empty());
  }
}

TEST_CASE("study ladder on a GPU: every kernel within its bound") {
  ScratchFolder folder;
  const auto ran =
      run_on("late guarded", join({"study", "ladder", "--out", folder / "study"},
                                  words_of("--device cuda --context 33,70 --head-size 32 --heads 1 --repeats 1")));
  INFO(ran.err);
  REQUIRE(ran.code == 0);
  const auto rows = nlohmann::json::parse(read_file(folder / "study/ladder.json"));
  CHECK(rows.size() >= 8);  // two lengths, with dropout and without; fp32, mma.sync, and wgmma where it runs
  for (const auto& row : rows) {
    INFO(row.dump());
    CHECK(row["error"] > 0);
    CHECK(row["error_of_allowed"] <= 1);
    CHECK(row["error_of_allowed"] > 0.02);  // a bound that means something
    CHECK(row["forward_ms"] > 0);
  }
  CHECK(rows[0]["rung"] == "fp32");
  CHECK(rows[1]["rung"] == "mma.sync");
}

TEST_CASE("study cost on a GPU") {
  ScratchFolder folder;
  const auto ran = run_on("late guarded", join({"study", "cost", "--out", folder / "study", "--quick"},
                                               words_of("--device cuda --dtype bf16 --layers 1 --context 8 --batch 1 "
                                                        "--heads 2 --embd 16 --lengths 8,16 --steps 1")));
  INFO(ran.err);
  REQUIRE(ran.code == 0);
  const auto json = nlohmann::json::parse(read_file(folder / "study/cost.json"));
  CHECK(json["ops"]["ops"].size() > 8);
  CHECK(json["lengths"][0]["steps"][2]["variant"] == "flash-sm80");
}
