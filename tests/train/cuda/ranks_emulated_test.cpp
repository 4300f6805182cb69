// glint train with several ranks and an emulated GPU each, as a user runs it: inside CUDA graphs, over the emulated
// NCCL, on devices that run work as late as CUDA allows. See ranks_cuda_test.cpp for results.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include <doctest/doctest.h>

#include "tests/src/comm/rank_processes.h"
#include "tests/train/cuda/cuda_program.h"
#include "tests/train/metrics.h"
#include "train/checkpoint/checkpoint.h"

using namespace glint;
using namespace glint::test;

namespace {

// One of two ranks on this machine, with these variables.
std::unique_ptr<Running> start_rank(const Arguments& variables, const Arguments& arguments) {
  return std::make_unique<Running>(join(join(variables, {GLINT_PROGRAM}), arguments), "/usr/bin/env");
}

}  // namespace

TEST_CASE("train --device cuda under Slurm, where each task sees only its own GPU") {
  const EmulatedDevice device("devices=1");
  ScratchFolder folder;
  write_text(folder);
  const auto task = [&](int rank, const Arguments& variables) {
    return start_rank(join({str_cat("SLURM_PROCID=", rank), "SLURM_NTASKS=2", str_cat("SLURM_LOCALID=", rank),
                            "SLURM_LAUNCH_NODE_IPADDR=127.0.0.1"},
                           variables),
                      tiny_run(folder, "run", "2", {"--device", "cuda", "--comm-timeout", "20", "--threads", "1"}));
  };
  const Arguments step = {"SLURM_JOB_ID=7", "SLURM_STEP_ID=0"};
  const auto first = task(0, step), second = task(1, step);
  for (Running* rank : {first.get(), second.get()}) {
    const Ran ran = rank->wait();
    INFO(ran.err);
    CHECK(ran.code == 0);
  }
}

TEST_CASE("train --device cuda: if a rank is killed or hangs the other one ends, and the launcher names it") {
  const EmulatedDevice device("devices=2 late guarded seed=5");
  for (const int signal : {SIGKILL, SIGSTOP}) {
    ScratchFolder folder;
    write_text(folder);
    Running launcher(tiny_run(folder, "run", "1000000",
                              {"--device", "cuda", "--ranks", "2", "--comm-timeout", "2", "--threads", "1"}));
    for (int i = 0; i < 2000 && losses_of(folder / "run").size() < 3; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto start = std::chrono::steady_clock::now();
    kill(children_of(launcher.process()).at(1), signal);
    const Ran ran = launcher.wait();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    INFO(ran.err);
    CHECK(ran.code != 0);
    CHECK(seconds.count() < (signal == SIGKILL ? 5 : 12));
    CHECK(ran.err.find("glint: rank 0: step ") != std::string::npos);
    CHECK(ran.err.ends_with(signal == SIGKILL
                                ? "glint: rank 1 failed first: Killed (signal 9)\n"
                                : "glint: rank 1 hung: it did not end after the others had failed, and was killed\n"));
  }
}

TEST_CASE("train --device cuda: SIGTERM to one rank stops all ranks at the same step with a checkpoint") {
  const EmulatedDevice device("devices=2 late");
  ScratchFolder folder;
  write_text(folder);
  Running launcher(tiny_run(folder, "run", "1000000",
                            {"--device", "cuda", "--ranks", "2", "--comm-timeout", "20", "--threads", "1"}));
  for (int i = 0; i < 2000 && losses_of(folder / "run").size() < 3; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(children_of(launcher.process()).at(1), SIGTERM);
  const Ran ran = launcher.wait();
  INFO(ran.err);
  CHECK(ran.code == 143);
  CHECK(ran.err.find(str_cat("stopped at step ", read_checkpoint_state(folder / "run/last").step, ";")) !=
        std::string::npos);
}

TEST_CASE("train --device cuda on two machines without a shared folder, and on one with different folders") {
  const EmulatedDevice device("devices=2");
  ScratchFolder folder;
  write_text(folder);
  const auto run = [&](const Arguments& local_ranks, const Arguments& flags) {
    const std::string port = str_cat("MASTER_PORT=", free_port());
    std::vector<std::unique_ptr<Running>> ranks;
    for (int rank = 0; rank < 2; ++rank)
      ranks.push_back(start_rank(
          {str_cat("RANK=", rank), "WORLD_SIZE=2", "LOCAL_RANK=" + local_ranks[static_cast<size_t>(rank)],
           "MASTER_ADDR=127.0.0.1", port},
          join({"train", flags[0], folder / str_cat("machine", rank), "--threads", "1", "--comm-timeout", "30"},
               Arguments(flags.begin() + 1, flags.end()))));
    Ran first = ranks[0]->wait();
    const Ran second = ranks[1]->wait();
    first.err += second.err;
    first.code = std::max(first.code, second.code);
    return first;
  };
  const Arguments model = {
      "--out",  "--data", folder / "text.txt", "--device", "cuda",    "--layers", "1",       "--heads", "2",
      "--embd", "32",     "--context",         "12",       "--batch", "4",        "--steps", "4",       "--eval-every",
      "0"};
  const Ran trained = run({"0", "0"}, model),
            resumed = run({"0", "0"}, {"--resume", "--steps", "6", "--device", "cuda"});
  INFO(trained.err, resumed.err);
  CHECK(trained.code == 0);
  CHECK(resumed.code == 0);
  CHECK(read_checkpoint_state(folder / "machine0/last").step == 6);
  CHECK(!std::filesystem::exists(folder / "machine1/last"));

  std::filesystem::remove_all(folder / "machine0");
  std::filesystem::remove_all(folder / "machine1");
  const Ran differ = run({"0", "1"}, model);
  INFO(differ.err);
  CHECK(differ.code != 0);
  CHECK(differ.err.find("rank 1 does not find " + (folder / "machine1") + "/data.json") != std::string::npos);
}
