// glint train, sample and eval on a GPU as a user runs them: emulated (kernels/simt/), or a real one in tests/gpu/.
#include <chrono>
#include <thread>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/train/cuda/cuda_program.h"
#include "tests/train/metrics.h"

using namespace glint;
using namespace glint::test;

namespace {

const Arguments kFp32 = {"--device", "cuda"}, kBf16 = {"--device", "cuda", "--dtype", "bf16"};

}  // namespace

TEST_CASE("train --device cuda: killed and resumed, it ends with the same bytes") {
  const EmulatedDevice device("late guarded");
  for (const Arguments& dtype : {kFp32, kBf16}) {
    ScratchFolder folder;
    write_text(folder);
    const auto straight = run_program(tiny_run(folder, "straight", "12", dtype));
    INFO(straight.err);
    REQUIRE(straight.code == 0);
    Running killed(tiny_run(folder, "killed", "12", dtype));
    for (int i = 0; i < 4000 && !std::filesystem::exists(folder / "killed/last/state.json"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    killed.send(SIGKILL);
    killed.wait();
    const auto resumed = run_program({"train", "--resume", folder / "killed"});
    INFO(resumed.err);
    REQUIRE(resumed.code == 0);
    for (const char* file : {"last/model.safetensors", "last/optimizer.safetensors"})
      CHECK(test::read_file(folder / (std::string("straight/") + file)) ==
            test::read_file(folder / (std::string("killed/") + file)));
  }
}

TEST_CASE("train --device cuda --attention: each set of kernels trains, to losses close to the other's") {
  const EmulatedDevice device("late guarded capability=90");
  ScratchFolder folder;
  write_text(folder);
  for (const char* kernels : {"flash", "flash-sm80"}) {
    Arguments flags = kBf16;
    flags.insert(flags.end(), {"--attention", kernels});
    const auto ran = run_program(tiny_run(folder, kernels, "4", flags));
    INFO(ran.err);
    REQUIRE(ran.code == 0);
  }
  const auto sm80 = losses_of(folder / "flash-sm80", {"loss"}), hopper = losses_of(folder / "flash", {"loss"});
  REQUIRE(hopper.size() == sm80.size());
  for (size_t i = 0; i < hopper.size(); ++i) CHECK(hopper[i] == doctest::Approx(sm80[i]).epsilon(1e-2));
}

TEST_CASE("train --device cuda: a run is resumed on the CPU and on the GPU again") {
  const EmulatedDevice device("late guarded");
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "cpu", "12")).code == 0);
  REQUIRE(run_program(tiny_run(folder, "mixed", "4", kFp32)).code == 0);
  const auto on_cpu = run_program({"train", "--resume", folder / "mixed", "--steps", "8", "--device", "cpu"});
  INFO(on_cpu.err);
  REQUIRE(on_cpu.code == 0);
  const auto back = run_program({"train", "--resume", folder / "mixed", "--steps", "12", "--device", "cuda"});
  INFO(back.err);
  REQUIRE(back.code == 0);
  const auto expected = losses_of(folder / "cpu", {"loss"}), got = losses_of(folder / "mixed", {"loss"});
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-4));
}

TEST_CASE("sample and eval --device cuda agree with the CPU") {
  const EmulatedDevice device("late guarded");
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "run", "6")).code == 0);
  const Arguments sample = {"sample", folder / "run", "--tokens", "20", "--temperature", "0", "--prompt", "the"};
  const auto cpu = run_program(sample), gpu = run_program(join(sample, kFp32));
  INFO(gpu.err);
  REQUIRE(gpu.code == 0);
  CHECK(gpu.out == cpu.out);
  CHECK(run_program(join(sample, kBf16)).code == 0);
  const Arguments eval = {"eval", folder / "run", "--data", folder / "text.txt", "--json"};
  test::write_file_for_test(folder / "text.txt", corpus_text(1500, 3));
  const double expected = nlohmann::json::parse(run_program(eval).out)["loss"];
  CHECK(nlohmann::json::parse(run_program(join(eval, kFp32)).out)["loss"].get<double>() ==
        doctest::Approx(expected).epsilon(1e-5));
  CHECK(nlohmann::json::parse(run_program(join(eval, kBf16)).out)["loss"].get<double>() ==
        doctest::Approx(expected).epsilon(1e-2));
}
