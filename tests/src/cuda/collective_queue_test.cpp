// Collectives between GPUs: their results (collective_cases.h), and ranks that die, hang or fail. Ranks are processes;
// each has an emulated device, or where the test runs on GPUs, one of them.
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

// Files that a rank writes for the test that started it.
struct RankFiles {
  std::string folder = std::getenv("GLINT_TEST_FOLDER"), rank = std::getenv("RANK");
  void write(const std::string& name, const std::string& content) const {
    const std::string path = folder + "/" + name + "-" + rank;
    write_file_for_test(path + ".part", content);
    std::filesystem::rename(path + ".part", path);
  }
};

// Until another rank fails; `captured`: by replaying a graph.
void reduce_until_failure(const Gpu& gpu, const RankFiles& files, bool captured) {
  Buckets buckets(gpu);
  buckets.fill(0);
  std::function<void()> give = [&] { buckets.give(); };
  if (captured) give = capture(gpu.ctx, give);
  give();
  synchronize(gpu.ctx);
  gpu.queue->check();
  files.write("ready", "");
  try {
    for (;;) {
      give();
      if (captured) gpu.queue->begin_replay();
      synchronize(gpu.ctx);
      gpu.queue->check();
    }
  } catch (const PeerError& error) {
    files.write("error", str_cat(error.rank, " ", error.what()));
    CHECK_THROWS_AS(gpu.queue->check(), PeerError);
    CHECK_THROWS_AS(buckets.give(), PeerError);
  }
}

// Values in host memory, also more than fit in the staging buffer.
void check_host_values(Communicator& comm) {
  for (const size_t n : {size_t{1}, size_t{1000}, size_t{3} << 20}) {
    INFO("n ", n);
    std::vector<float> data = values_of<float>(n, comm.rank());
    const std::vector<float> sum = serial_sum<float>(n, comm.size());
    comm.all_reduce(data);
    check_sum(data, sum, comm.size(), {0, n});
    const Shard own = shard_of(n, comm.rank(), comm.size());
    std::vector<float> gathered(n, -1.0f);
    for (size_t i = own.begin; i < own.end; ++i) gathered[i] = data[i];
    comm.all_gather(gathered);
    CHECK(gathered == data);
    if (comm.rank() != 1) gathered.assign(n, -2.0f);
    comm.broadcast(std::as_writable_bytes(std::span(gathered)), 1);
    CHECK(gathered == data);
  }
}

// Whether this many ranks can run here: GPUs are not shared.
bool room_for(size_t ranks) { return !nccl_version().empty() && (Gpu::emulated() || Gpu::count() >= ranks); }

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
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // ends with a test program that is killed
  const Ranks ranks = ranks_from_environment();
  const RankFiles files;
  const int gpu_number = ranks.local_rank % static_cast<int>(Gpu::count());
  const auto comm = make_nccl_communicator(ranks, gpu_number,
                                           std::chrono::milliseconds(std::atoi(std::getenv("GLINT_TEST_TIMEOUT"))));
  const LateDevice late(static_cast<uint64_t>(ranks.rank));
  if (task == std::string("collectives")) {
    const Gpu gpu(ranks.local_rank, *comm);
    check_collectives(gpu);
    check_buckets(gpu);
    check_host_values(*comm);
  } else if (task == std::string("unwind")) {  // a rank fails while its collectives wait for the others
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

TEST_CASE("gpus: collectives of 2 and 3 ranks give the serial sums, inside and outside of a graph") {
  for (int size : {2, 3}) {
    if (!room_for(static_cast<size_t>(size))) continue;
    RankProcesses ranks("collectives", size, 30000, size, kRank, free_port());
    for (int rank = 0; rank < size; ++rank) check_ended(ranks, rank);
  }
}

TEST_CASE("gpus: if a rank is killed the others end within 5 s, although they wait for their GPUs") {
  for (const char* task : {"captured", "plain"}) {
    if (!room_for(3)) continue;
    INFO(task);
    RankProcesses ranks(task, 3, 4000, 3, kRank, free_port());
    for (int rank = 0; rank < 3; ++rank) ranks.wait_until_written(rank, "ready");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto start = std::chrono::steady_clock::now();
    ranks.send(1, SIGKILL);
    for (int rank : {0, 2}) check_ended(ranks, rank);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(6));
    for (int rank : {0, 2}) CHECK(ranks.wrote(rank, "error").starts_with("-1 another rank "));
    ranks.wait(1);
  }
}

TEST_CASE("gpus: if a rank hangs the others end after the timeout, although they wait for their GPUs") {
  if (!room_for(3)) return;
  RankProcesses ranks("captured", 3, 1500, 3, kRank, free_port());
  for (int rank = 0; rank < 3; ++rank) ranks.wait_until_written(rank, "ready");
  const auto start = std::chrono::steady_clock::now();
  ranks.send(1, SIGSTOP);
  for (int rank : {0, 2}) check_ended(ranks, rank);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(8));
  const std::string timed_out = "-1 another rank hangs or is gone: this one waited 1.5 s for its GPU (`comm_timeout`)";
  const std::string first = ranks.wrote(0, "error"), third = ranks.wrote(2, "error");
  CHECK((first == timed_out || third == timed_out));
  CHECK(first.starts_with("-1 another rank "));
  CHECK(third.starts_with("-1 another rank "));
}

TEST_CASE("gpus: if a rank fails it ends, and the other GPUs do not wait for it") {
  if (!room_for(2)) return;
  RankProcesses ranks("unwind", 2, 3000, 2, kRank, free_port());
  for (int rank : {0, 1}) check_ended(ranks, rank);
  CHECK(ranks.wrote(0, "error").starts_with("another rank "));
}

TEST_CASE("gpus: connecting needs an address and all ranks") {
  if (!room_for(2)) return;
  Ranks ranks;
  ranks.size = 2;
  CHECK(error_of([&] {
          make_nccl_communicator(ranks, 0, std::chrono::milliseconds(100));
        }).starts_with("GPU ranks connect at MASTER_ADDR:MASTER_PORT, which are not set in the environment"));
  ranks.master_address = "127.0.0.1";
  ranks.master_port = free_port();
  const std::string where = str_cat("127.0.0.1:", ranks.master_port + 1);
  CHECK(error_of([&] {
          make_nccl_communicator(ranks, 0, std::chrono::milliseconds(100));
        }).starts_with("the GPUs of 2 ranks did not connect at " + where + " within 0.1 s"));
  unsetenv("NCCL_COMM_ID");
}

TEST_CASE("gpus: a single rank, inside and outside of a graph") {
  if (Gpu::count() == 0) return;
  const auto comm = make_single_communicator();
  if (nccl_version().empty()) {
    CHECK(error_of([&] { Gpu(0, *comm); }).starts_with("1 ranks on GPUs: this build of glint has no NCCL; install"));
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
