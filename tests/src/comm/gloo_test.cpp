// Gloo between processes: results against serial sums, and all kinds of failures.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/check.h"
#include "src/comm/communicator.h"
#include "src/comm/ranks.h"
#include "tests/src/comm/rank_processes.h"
#include "tests/src/comm/rank_values.h"

#ifdef GLINT_WITH_GLOO

using namespace glint;
using namespace glint::test;

namespace {

using Seconds = std::chrono::duration<double>;
// One element, fewer than ranks, not divisible by 2, 3 and 4; then, in one type each, more than one round.
const std::vector<size_t> kSizes = {1, 2, 3, 5, 1000, 1001, 4099};
constexpr size_t kManyFloats = 1'000'000, kManyDoubles = 300'011;

template <typename T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

void check_shards(Communicator& comm, size_t n, const std::vector<float>& values, const std::vector<float>& sum) {
  const Shard shard = shard_of(n, comm.rank(), comm.size());
  std::vector<float> data = values, gathered(n, -1.0f);
  comm.reduce_scatter(data);
  for (size_t i = shard.begin; i < shard.end; ++i) gathered[i] = data[i];
  comm.all_gather(gathered);
  CHECK(same_bits<float>(gathered, sum));
  const auto part = [](const std::vector<float>& all, const Shard& of) {
    return std::span<const float>(all).subspan(of.begin, of.size());
  };
  CHECK(same_bits<float>(part(data, shard), part(sum, shard)));
}

template <typename T>
void check_collectives(Communicator& comm, size_t n, std::string& bits) {
  INFO("n ", n, ", ", comm.size(), " ranks, rank ", comm.rank(), ", seed ", RandomInputs(kRankSeed).seed);
  const std::vector<T> sum = serial_sum<T>(n, comm.size());
  const std::vector<T> values = values_of<T>(n, comm.rank());
  std::vector<T> data = values;
  comm.all_reduce(data);
  CHECK(same_bits<T>(data, sum));
  bits.append(reinterpret_cast<const char*>(data.data()), n * sizeof(T));

  if constexpr (std::is_same_v<T, float>) check_shards(comm, n, values, sum);

  const int root = static_cast<int>(n) % comm.size();
  data = comm.rank() == root ? sum : std::vector<T>(n, T(-2));
  comm.broadcast(std::as_writable_bytes(std::span<T>(data)), root);
  CHECK(same_bits<T>(data, sum));
}

void write_file_at(const std::string& folder, const std::string& name, int rank, const std::string& content) {
  const std::string path = folder + "/" + str_cat(name, "-", rank);
  write_file_for_test(path + ".part", content);
  std::filesystem::rename(path + ".part", path);
}

// What a rank does in the tests of collectives, and in those of faults (until another rank fails).
void do_collectives(Communicator& comm, const std::string& folder) {
  std::string bits;
  for (size_t n : kSizes) {
    check_collectives<float>(comm, n, bits);
    check_collectives<double>(comm, n, bits);
  }
  check_collectives<float>(comm, kManyFloats, bits);
  check_collectives<double>(comm, kManyDoubles, bits);
  comm.all_reduce(std::span<float>());
  comm.barrier();
  write_file_at(folder, "hash", comm.rank(), str_cat(std::hash<std::string>()(bits)));
}

void do_reductions(Communicator& comm, const std::string& folder, const std::string& task) {
  std::vector<float> data(300'000, 1.0f);
  comm.all_reduce(data);
  write_file_at(folder, "ready", comm.rank(), "");
  try {
    for (int i = 0;; ++i) {
      if (task == "abort" && comm.rank() == 1 && i == 3) return comm.abort("the loss is NaN");
      if (task == "end" && comm.rank() == 1 && i == 3) return;
      comm.all_reduce(data);
      comm.barrier();
    }
  } catch (const PeerError& error) {
    write_file_at(folder, "error", comm.rank(), str_cat(error.rank, error.reported ? "r " : " ", error.what()));
    CHECK_THROWS_AS(comm.barrier(), PeerError);
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

// Runs all-reduces on four ranks, sends `signal` to rank 2, and returns the time until the last other rank ended.
double seconds_to_fail(RankProcesses& ranks, int signal) {
  for (int rank = 0; rank < 4; ++rank) ranks.wait_until_written(rank, "ready");
  const auto start = std::chrono::steady_clock::now();
  ranks.send(2, signal);
  for (int rank : {0, 1, 3}) CHECK(ranks.wait(rank).code == 0);
  return seconds_since(start);
}

}  // namespace

TEST_CASE("comm: one rank" * doctest::skip()) {  // started by the tests below
  const char* task = std::getenv("GLINT_TEST_TASK");
  if (!task) return;
  const std::string folder = std::getenv("GLINT_TEST_FOLDER");
  const Ranks ranks = ranks_from_environment();
  GlooOptions options;
  options.folder = folder;
  options.launch = ranks.launch;
  if (ranks.rank == 0) options.interface = "lo";  // the others: by default
  options.timeout = std::chrono::milliseconds(std::atoi(std::getenv("GLINT_TEST_TIMEOUT")));
  try {
    const auto comm = make_gloo_communicator(ranks, options);
    CHECK(comm->rank() == ranks.rank);
    CHECK(comm->size() == ranks.size);
    if (task == std::string("collectives")) {
      do_collectives(*comm, folder);
    } else {
      do_reductions(*comm, folder, task);
    }
  } catch (const UserError& error) {
    write_file_at(folder, "error", ranks.rank, error.what());
  }
}

TEST_CASE("comm: Gloo's collectives of 2, 3 and 4 processes give the bits of serial sums, in every rank and run") {
  for (int size : {2, 3, 4}) {
    std::string first;
    for (int run = 0; run < 2; ++run) {
      RankProcesses ranks("collectives", size, 20000, size);
      for (int rank = 0; rank < size; ++rank) {
        const Ran ran = ranks.wait(rank);
        INFO(size, " ranks, rank ", rank, ":\n", ran.out, ran.err);
        CHECK(ran.code == 0);
        CHECK(ranks.wrote(rank, "error") == "");
        const std::string hash = ranks.wrote(rank, "hash");
        if (first.empty()) first = hash;
        CHECK(!hash.empty());
        CHECK(hash == first);
      }
      CHECK(!std::filesystem::exists(ranks.folder() + "/launch"));  // the rendezvous folder
    }
  }
}

TEST_CASE("comm: a rank that is killed is named by all others within 5 s") {
  RankProcesses ranks("reduce", 4, 60000, 4);
  CHECK(seconds_to_fail(ranks, SIGKILL) < 5);
  for (int rank : {0, 1, 3})
    CHECK(ranks.wrote(rank, "error") == "2 rank 2 is gone: its process died, or the network dropped it");
}

TEST_CASE("comm: a rank that hangs is named by all others after the timeout") {
  RankProcesses ranks("reduce", 4, 1500, 4);
  const double seconds = seconds_to_fail(ranks, SIGSTOP);
  CHECK(seconds > 1);
  CHECK(seconds < 4);
  for (int rank : {0, 1, 3})
    CHECK(ranks.wrote(rank, "error") == "2 rank 2 hangs: nothing came from it for 1.5 s (`comm_timeout`)");
  ranks.send(2, SIGCONT);
  CHECK(ranks.wait(2).code == 0);
}

TEST_CASE("comm: a rank that aborts, or ends before the others, is named by them") {
  for (const std::string task : {"abort", "end"}) {
    RankProcesses ranks(task, 3, 10000, 3);
    for (int rank = 0; rank < 3; ++rank) CHECK(ranks.wait(rank).code == 0);
    for (int rank : {0, 2}) {
      const std::string error = ranks.wrote(rank, "error");
      INFO(error);
      // From the rank that failed, or from another that got its report.
      if (task == "abort") CHECK(error.find("the loss is NaN") != std::string::npos);
      CHECK(error.starts_with(task == "abort" ? "1" : "1 rank 1 is gone"));
    }
  }
}

TEST_CASE("comm: ranks that never start are named") {
  RankProcesses ranks("reduce", 4, 700, 2);
  const auto start = std::chrono::steady_clock::now();
  for (int rank : {0, 1}) {
    CHECK(ranks.wait(rank).code == 0);
    CHECK(seconds_since(start) < 3);
    CHECK(ranks.wrote(rank, "error") ==
          "ranks 2, 3 of 4 did not connect in " + ranks.folder() + "/launch within 0.7 s: see what stopped them");
  }
}

#endif
