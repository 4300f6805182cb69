// glint mask and glint bench on a GPU, which is emulated (tests/simt/).
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/random.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;

namespace {

using Arguments = std::vector<std::string>;

Arguments join(Arguments first, const Arguments& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

// Runs the program on a device of these properties (tests/simt/runtime.h).
test::Ran run_on(const std::string& device, const Arguments& arguments) {
  setenv("SIMT_DEVICE", device.c_str(), 1);
  const test::Ran ran = run_program(arguments);
  unsetenv("SIMT_DEVICE");
  return ran;
}

}  // namespace

TEST_CASE("mask: what the kernels drop is what the definition says") {
  test::RandomInputs inputs(20261201);
  INFO("seed ", inputs.seed);
  for (const char* p : {"0.1", "0.5", "0.9", "0"}) {
    const Arguments mask = {"mask", "--p", p, "--rows", std::to_string(1 + inputs.below(90)), "--cols", std::to_string(1 + inputs.below(200)),
                            "--seed", std::to_string(inputs.engine()), "--offset", std::to_string(0xffffffe0u + inputs.below(64)),
                            "--batch-index", std::to_string(inputs.below(5)), "--heads", "3", "--head", std::to_string(inputs.below(3))};
    const auto defined = run_program(mask);
    REQUIRE(defined.code == 0);
    for (const Arguments& device : {Arguments{"--device", "cpu"}, {"--device", "cpu", "--dtype", "bf16"}, {"--device", "cuda"}, {"--device", "cuda", "--dtype", "bf16"}}) {
      const auto ran = run_on("late guarded", join(mask, device));
      INFO(ran.err);
      CHECK(ran.code == 0);
      CHECK(ran.out == defined.out);
    }
  }
}

TEST_CASE("bench attention: a GPU's figures") {
  for (const char* dtype : {"fp32", "bf16"}) {
    const auto ran = run_on("late guarded", {"bench", "attention", "--device", "cuda", "--dtype", dtype, "--context", "33", "--heads", "2",
                                             "--head-size", "32", "--repeats", "1", "--dropout", "0.1", "--json"});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    const auto figures = nlohmann::json::parse(ran.out);
    CHECK(figures["forward_ms"].get<double>() > 0);
    CHECK(figures["backward_tflops"].get<double>() > 0);
    CHECK(figures["device"] == "emulated GPU");
  }
}

TEST_CASE("a device that cannot be used is one clear line") {
  const struct {
    std::string device, expected;
  } cases[] = {{"no-driver", "driver version is insufficient"},
               {"devices=0", "no CUDA-capable device is detected"},
               {"capability=75", "compute capability 7.5; 8.0 (Ampere) or later is needed"},
               {"memory=33600000", "are needed, 46 kB of 34 MB are free"}};
  for (const auto& [device, expected] : cases) {
    const auto ran = run_on(device, {"bench", "attention", "--device", "cuda", "--context", "64"});
    INFO(ran.err);
    CHECK(ran.code == 1);
    CHECK(ran.out.empty());
    CHECK(ran.err.find(expected) != std::string::npos);
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
  }
}
