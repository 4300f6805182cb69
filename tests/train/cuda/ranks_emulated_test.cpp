// glint train by several ranks with an emulated GPU each, as a user runs it: inside CUDA graphs, over the emulated
// NCCL, on devices that are as late as CUDA allows. A rank that dies or stands still is named. (What they train:
// ranks_cuda_test.cpp.)
#include <signal.h>

#include <chrono>
#include <memory>
#include <thread>

#include <doctest/doctest.h>

#include "src/comm/communicator.h"
#include "tests/train/cuda/cuda_program.h"
#include "tests/train/metrics.h"

#ifdef GLINT_WITH_GLOO

using namespace glint;
using namespace glint::test;

namespace {

// One rank of two on this machine, told so by these variables.
std::unique_ptr<Running> start_rank(const Arguments& variables, const Arguments& arguments) {
  return std::make_unique<Running>(join(join(variables, {GLINT_PROGRAM}), arguments), "/usr/bin/env");
}

}  // namespace

TEST_CASE("train --device cuda under Slurm, which shows each task a GPU of its own alone") {
  const EmulatedDevice device("devices=1");
  ScratchFolder folder;
  write_text(folder);
  const auto task = [&](int rank, const Arguments& variables) {
    return start_rank(
        join({str_cat("SLURM_PROCID=", rank), "SLURM_NTASKS=2", str_cat("SLURM_LOCALID=", rank)}, variables),
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

TEST_CASE(
    "train --device cuda: a rank that is killed or stands still is named by the other one, which waits for its GPU") {
  const EmulatedDevice device("devices=2 late guarded seed=5");
  for (const int signal : {SIGKILL, SIGSTOP}) {
    ScratchFolder folder;
    write_text(folder);
    std::vector<std::unique_ptr<Running>> ranks;
    for (int rank = 0; rank < 2; ++rank)
      ranks.push_back(start_rank(
          {str_cat("RANK=", rank), "WORLD_SIZE=2", str_cat("LOCAL_RANK=", rank)},
          tiny_run(folder, "run", "1000000", {"--device", "cuda", "--comm-timeout", "2", "--threads", "1"})));
    for (int i = 0; i < 2000 && losses_of(folder / "run").size() < 3; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto start = std::chrono::steady_clock::now();
    ranks[1]->send(signal);
    const Ran other = ranks[0]->wait();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    INFO(other.err);
    CHECK(other.code == 1);
    CHECK(seconds.count() < (signal == SIGKILL ? 5 : 8));
    CHECK(other.err.find(signal == SIGKILL ? ": rank 1 is gone" : ": rank 1 stands still") != std::string::npos);
    if (signal == SIGSTOP) ranks[1]->send(SIGKILL);
    ranks[1]->wait();
  }
}

#endif
