// glint train by several ranks with an emulated GPU each, as a user runs it: inside CUDA graphs, over the emulated NCCL, on
// devices that are as late as CUDA allows. A rank that dies or stands still is named. (What they train: ranks_cuda_test.cpp.)
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

TEST_CASE("train --device cuda: a rank that is killed or stands still is named by the other one, which waits for its GPU") {
  const EmulatedDevice device("devices=2 late guarded seed=5");
  for (const int signal : {SIGKILL, SIGSTOP}) {
    ScratchFolder folder;
    write_text(folder);
    std::vector<std::unique_ptr<Running>> ranks;
    for (int rank = 0; rank < 2; ++rank)
      ranks.push_back(std::make_unique<Running>(
          join({text("RANK=", rank), "WORLD_SIZE=2", text("LOCAL_RANK=", rank), GLINT_PROGRAM},
               tiny_run(folder, "run", "1000000", {"--device", "cuda", "--comm-timeout", "2", "--threads", "1"})),
          "/usr/bin/env"));
    for (int i = 0; i < 2000 && losses_of(folder / "run").size() < 3; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
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
