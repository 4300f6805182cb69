// A GPU that is missing, too old or too small, emulated (kernels/simt/).
#include <algorithm>

#include <doctest/doctest.h>

#include "tests/train/cuda/cuda_program.h"

using namespace glint;
using namespace glint::test;

TEST_CASE("train --device cuda: a model that does not fit is a one-line error") {
  const EmulatedDevice device("memory=33650000");
  ScratchFolder folder;
  write_text(folder);
  const auto ran = run_program(tiny_run(folder, "run", "6", {"--device", "cuda", "--dtype", "bf16"}));
  INFO(ran.err);
  CHECK(ran.code == 1);
  CHECK(ran.err.find("no memory for ") != std::string::npos);
  CHECK(ran.err.find("--micro-batch") != std::string::npos);
  CHECK(run_program(tiny_run(folder, "run", "1")).code == 0);  // the same folder can be used again
}

TEST_CASE("a device that cannot be used is a one-line error") {
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
