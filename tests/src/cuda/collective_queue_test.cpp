// Collectives between GPUs: their results (collective_cases.h), and ranks that die, stand still or fail. Ranks are
// processes; each has an emulated device, or where the test runs on GPUs, one of them.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/prctl.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "src/comm/ranks.h"
#include "tests/src/comm/rank_processes.h"
#include "tests/src/cuda/collective_cases.h"

using namespace glint;
using namespace glint::test;

namespace {

// What a rank leaves for the test that started it.
struct RankFiles {
  std::string folder = std::getenv("GLINT_TEST_FOLDER"), rank = std::getenv("RANK");
  void write(const std::string& name, const std::string& content) const {
    const std::string path = folder + "/" + name + "-" + rank;
    write_file_for_test(path + ".part", content);
    std::filesystem::rename(path + ".part", path);
  }
};

// Until another rank fails: `captured`, a graph again and again, without a look at anything but the GPU.
void reduce_until_failure(const Gpu& gpu, const RankFiles& files, bool captured) {
  Buckets buckets(gpu);
  buckets.fill(0);
  std::function<void()> give = [&] { buckets.give(); };
  if (captured) give = capture(gpu.ctx, give);
  give();
  synchronize(gpu.ctx);
  files.write("ready", "");
  try {
    for (;;) {
      give();
      synchronize(gpu.ctx);
      gpu.queue->check();
    }
  } catch (const PeerError& error) {
    files.write("error", str_cat(error.rank, " ", error.what()));
    CHECK_THROWS_AS(gpu.queue->join(), PeerError);
    CHECK_THROWS_AS(gpu.queue->check(), PeerError);
    CHECK_THROWS_AS(buckets.give(), PeerError);
  }
}

// Whether as many ranks can run here: GPUs are not shared.
bool room_for(size_t ranks) {
  return kHasGloo && !nccl_version().empty() && (Gpu::emulated() || Gpu::count() >= ranks);
}

void check_ended(RankProcesses& ranks, int rank) {
  const Ran ran = ranks.wait(rank);
  INFO("rank ", rank, ":\n", ran.out, ran.err);
  CHECK(ran.code == 0);
}

const std::string kRank = "gpus: one rank";

}  // namespace

TEST_CASE("gpus: one rank" * doctest::skip()) {  // started by the tests below
  const char* task = std::getenv("GLINT_TEST_TASK");
  if (!task) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing stays behind a test program that is killed
  const Ranks ranks = ranks_from_environment();
  const RankFiles files;
  GlooOptions options;
  options.folder = files.folder;
  options.launch = ranks.launch;
  options.timeout = std::chrono::milliseconds(std::atoi(std::getenv("GLINT_TEST_TIMEOUT")));
  const auto comm = make_gloo_communicator(ranks, options);
  const LateDevice late(static_cast<uint64_t>(ranks.rank));
  if (task == std::string("collectives")) {
    const Gpu gpu(ranks.local_rank, *comm);
    check_collectives(gpu);
    check_buckets(gpu);
    comm->barrier();
  } else if (task == std::string("unwind")) {  // a rank that fails by itself while its collectives wait for the others'
    try {
      const Gpu gpu(ranks.local_rank, *comm);
      const DeviceBuffer<float> data(64);
      if (ranks.rank == 1) throw Error("the loss is NaN");
      gpu.queue->all_reduce(data.data(), 64);
      gpu.queue->join();
      synchronize(gpu.ctx);
      gpu.queue->check();
    } catch (const PeerError& error) {
      files.write("error", error.what());
    } catch (const Error& error) {
      comm->abort(error.what());
    }
  } else {
    const Gpu gpu(ranks.local_rank, *comm);
    reduce_until_failure(gpu, files, task == std::string("captured"));
  }
}

TEST_CASE("gpus: collectives between 2 and 3 ranks give the serial sums, in and outside of a graph") {
  for (int size : {2, 3}) {
    if (!room_for(static_cast<size_t>(size))) continue;
    RankProcesses ranks("collectives", size, 30000, size, kRank);
    for (int rank = 0; rank < size; ++rank) check_ended(ranks, rank);
  }
}

TEST_CASE("gpus: a rank that is killed is named by the others within 5 s, though these wait for their GPUs") {
  for (const char* task : {"captured", "plain"}) {
    if (!room_for(3)) continue;
    INFO(task);
    RankProcesses ranks(task, 3, 30000, 3, kRank);
    for (int rank = 0; rank < 3; ++rank) ranks.wait_until_written(rank, "ready");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto start = std::chrono::steady_clock::now();
    ranks.send(1, SIGKILL);
    for (int rank : {0, 2}) check_ended(ranks, rank);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
    for (int rank : {0, 2})
      CHECK(ranks.wrote(rank, "error") ==
            "1 rank 1 is gone: its process died or was killed, or the network dropped it");
    ranks.wait(1);
  }
}

TEST_CASE("gpus: a rank that hangs is named by the others after the timeout, though these wait for their GPUs") {
  if (!room_for(3)) return;
  RankProcesses ranks("captured", 3, 2000, 3, kRank);
  for (int rank = 0; rank < 3; ++rank) ranks.wait_until_written(rank, "ready");
  const auto start = std::chrono::steady_clock::now();
  ranks.send(1, SIGSTOP);
  for (int rank : {0, 2}) check_ended(ranks, rank);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(8));
  const std::string line = "rank 1 stands still: nothing came from it for 2 s";
  for (int rank : {0, 2}) CHECK(ranks.wrote(rank, "error") == "1 " + line);
  ranks.send(1, SIGCONT);
  check_ended(ranks, 1);
  CHECK(ranks.wrote(1, "error") == "1 the other ranks gave up on this one: " + line);
}

TEST_CASE("gpus: a rank that fails by itself ends, and the others' GPUs do not wait for it") {
  if (!room_for(2)) return;
  RankProcesses ranks("unwind", 2, 30000, 2, kRank);
  for (int rank : {0, 1}) check_ended(ranks, rank);
  CHECK(ranks.wrote(0, "error") == "rank 1 gave up: the loss is NaN");
}

TEST_CASE("gpus: one rank alone, in and outside of a graph") {
  if (Gpu::count() == 0) return;
  const auto comm = make_single_communicator();
  if (nccl_version().empty()) {
    CHECK(error_of([&] {
            Gpu(0, *comm);
          }).starts_with("1 ranks on GPUs: this build of glint has no NCCL; build it where"));
    return;
  }
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const LateDevice late(seed);
    const Gpu gpu(0, *comm);
    check_collectives(gpu);
    check_buckets(gpu);
    if (Gpu::emulated()) CHECK(gpu.queue->times().busy > 0);
    gpu.queue->check();
  }
}
