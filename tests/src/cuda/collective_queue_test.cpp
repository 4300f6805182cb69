// Collectives between GPUs: results against sums worked out serially, their order with other work in and outside of a CUDA graph, and
// a rank that dies. On the emulated device ranks are processes that share it, on GPUs each has its own.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/residual.h"
#include "src/comm/collective_queue.h"
#include "src/comm/ranks.h"
#include "src/device.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/simt/runtime.h"
#include "tests/src/comm/rank_processes.h"

using namespace glint;
using namespace glint::test;

namespace {

// Restores the emulated device's options at the end of a scope.
struct LateDevice {
  explicit LateDevice(uint64_t seed) {
    simt::device.late = simt::device.guarded = true;
    simt::device.seed = seed;
  }
  ~LateDevice() { simt::device = saved; }
  simt::DeviceOptions saved = simt::device;
};

struct Gpu {
  Gpu(int local_rank, Communicator& ranks)
      : device(Device::cuda(local_rank % static_cast<int>(count()))), ctx(std::get<CudaContext>(device.context())), comm(ranks) {}
  static size_t count() {
    std::string fault;
    return gpus_here(fault).size();
  }
  static bool emulated() {
    std::string fault;
    const auto gpus = gpus_here(fault);
    return !gpus.empty() && gpus[0].name == "emulated GPU";
  }
  template <typename T>
  void write(const DeviceBuffer<T>& to, const std::vector<T>& values) const {
    copy_to_device(ctx, to.data(), values.data(), values.size() * sizeof(T));
  }
  template <typename T>
  std::vector<T> read(const DeviceBuffer<T>& from) const {
    std::vector<T> values(from.size());
    copy_to_host(ctx, values.data(), from.data(), values.size() * sizeof(T));
    return values;
  }
  Device device;
  CudaContext ctx;
  Communicator& comm;
  std::unique_ptr<CollectiveQueue> queue = make_collective_queue(ctx, comm);
};

// Of magnitudes apart, so that the order of additions shows in the bits.
template <typename T>
std::vector<T> values_of(size_t n, int rank) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) {
    const auto bits = (i * 16 + static_cast<size_t>(rank) + n) * 6364136223846793005u;
    values[i] = static_cast<T>(static_cast<int>(bits >> 40 & 0xffff) - 0x7fff) * static_cast<T>(std::exp2(static_cast<double>(bits >> 60)));
  }
  return values;
}
template <typename T>
std::vector<T> serial_sum(size_t n, int ranks) {
  std::vector<T> sum = values_of<T>(n, 0);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::vector<T> next = values_of<T>(n, rank);
    for (size_t i = 0; i < n; ++i) sum[i] += next[i];
  }
  return sum;
}

// The emulated device adds up in the order of ranks; what NCCL does is its own.
template <typename T>
void check_sum(const std::vector<T>& got, const std::vector<T>& expected, int ranks, Shard part) {
  const double unit = Gpu::emulated() || ranks == 1 ? 0.0 : ranks * (sizeof(T) == 8 ? 0x1p-53 : 0x1p-24);
  size_t wrong = 0;
  for (size_t i = part.begin; i < part.end; ++i)
    if (!(std::abs(got[i] - expected[i]) <= unit * ranks * std::exp2(31.0))) ++wrong;
  CHECK(wrong == 0);
}

template <typename T>
void check_all_reduce(const Gpu& gpu, size_t n) {
  const DeviceBuffer<T> data(n);
  gpu.write(data, values_of<T>(n, gpu.comm.rank()));
  gpu.queue->all_reduce(data.data(), n);
  gpu.queue->join();
  check_sum(gpu.read(data), serial_sum<T>(n, gpu.comm.size()), gpu.comm.size(), {0, n});
}

void check_shards(const Gpu& gpu, size_t n) {
  const int rank = gpu.comm.rank(), size = gpu.comm.size();
  const Shard own = shard_of(n, rank, size);
  const std::vector<float> sum = serial_sum<float>(n, size);
  const DeviceBuffer<float> data(n);
  gpu.write(data, values_of<float>(n, rank));
  gpu.queue->reduce_scatter(data.data(), n);
  gpu.queue->join();
  std::vector<float> part = gpu.read(data);
  check_sum(part, sum, size, own);

  for (size_t i = 0; i < n; ++i)
    if (i < own.begin || i >= own.end) part[i] = -1.0f;
  gpu.write(data, part);
  gpu.queue->all_gather(data.data(), n);
  const DeviceBuffer<Bf16> narrow(n);
  std::vector<Bf16> bits(n);
  for (size_t i = own.begin; i < own.end; ++i) bits[i] = to_bf16(sum[i]);
  gpu.write(narrow, bits);
  gpu.queue->all_gather(narrow.data(), n);
  gpu.queue->join();
  check_sum(gpu.read(data), sum, size, {0, n});
  size_t wrong = 0;
  const std::vector<Bf16> gathered = gpu.read(narrow);
  for (size_t i = 0; i < n; ++i) wrong += to_float(gathered[i]) != to_float(to_bf16(sum[i]));
  CHECK(wrong == 0);
}

void check_collectives(const Gpu& gpu) {
  const double before = gpu.queue->times().bytes;
  for (size_t n : {1, 17, 96, 1000, 6144}) {  // what 2 and 3 ranks divide and what not; fewer than ranks
    INFO("n ", n, ", rank ", gpu.comm.rank(), " of ", gpu.comm.size());
    check_all_reduce<float>(gpu, n);
    check_all_reduce<double>(gpu, n);
    check_shards(gpu, n);
  }
  gpu.queue->all_reduce(static_cast<float*>(nullptr), 0);
  gpu.queue->join();
  CHECK(gpu.queue->times().bytes - before == (1 + 17 + 96 + 1000 + 6144) * (4.0 + 8 + 4 + 4 + 2));
}

// Backward in small: kernels fill buckets one after another, each is on its way while the next is filled, and what comes
// behind join() reads all of them. Values are small whole numbers: sums are exact in any order.
class Buckets {
 public:
  explicit Buckets(const Gpu& gpu) : gpu_(gpu) {
    for (int i = 0; i < kBuckets; ++i) buckets_.emplace_back(kShape.C), results_.emplace_back(kShape.C);
  }
  void fill(int turn) {
    for (int i = 0; i < kShape.C; ++i) input_[static_cast<size_t>(i)] = static_cast<float>(turn + i % 7 + 10 * gpu_.comm.rank());
    gpu_.write(x_, input_);
  }
  void give() const {
    for (int i = 0; i < kBuckets; ++i) {
      const float* before = i == 0 ? x_.data() : results_[static_cast<size_t>(i - 1)].data();
      float *bucket = buckets_[static_cast<size_t>(i)].data(), *result = results_[static_cast<size_t>(i)].data();
      residual_dropout_forward(gpu_.ctx, result, before, x_.data(), kShape, {});  // (i + 2) x
      residual_dropout_forward(gpu_.ctx, bucket, result, x_.data(), kShape, {});  // (i + 3) x
      gpu_.queue->all_reduce(bucket, static_cast<size_t>(kShape.C));
    }
    gpu_.queue->join();
    for (int i = 0; i < kBuckets; ++i) {
      const float* bucket = buckets_[static_cast<size_t>(i)].data();
      residual_dropout_forward(gpu_.ctx, results_[static_cast<size_t>(i)].data(), bucket, bucket, kShape, {});
    }
  }
  // Elements that are not twice the sum over the ranks.
  size_t wrong(int turn) const {
    size_t count = 0;
    const int size = gpu_.comm.size();
    for (int b = 0; b < kBuckets; ++b) {
      const std::vector<float> got = gpu_.read(results_[static_cast<size_t>(b)]);
      for (int i = 0; i < kShape.C; ++i) {
        const int sum = size * (turn + i % 7) + 10 * size * (size - 1) / 2;
        count += got[static_cast<size_t>(i)] != static_cast<float>(2 * (b + 3) * sum);
      }
    }
    return count;
  }

 private:
  static constexpr ResidualShape kShape{1, 1, 50};
  static constexpr int kBuckets = 4;
  const Gpu& gpu_;
  std::vector<float> input_ = std::vector<float>(kShape.C);
  DeviceBuffer<float> x_{kShape.C};
  std::vector<DeviceBuffer<float>> buckets_, results_;
};

void check_buckets(const Gpu& gpu) {
  Buckets buckets(gpu);
  int turn = 0;
  size_t wrong = 0;
  for (; turn < 6; ++turn) {
    buckets.fill(turn);
    buckets.give();
    wrong += buckets.wrong(turn);
  }
  CHECK(wrong == 0);
  const std::function<void()> again = capture(gpu.ctx, [&] { buckets.give(); });
  for (; turn < 12; ++turn) {
    buckets.fill(turn);
    again();
    again();  // right behind: the first one's work must not touch the second's
    wrong += buckets.wrong(turn);
  }
  CHECK(wrong == 0);
  buckets.fill(turn);
  buckets.give();
  CHECK(buckets.wrong(turn) == 0);
}

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
    files.write("error", text(error.rank, " ", error.what()));
    CHECK_THROWS_AS(gpu.queue->join(), PeerError);
    CHECK_THROWS_AS(gpu.queue->check(), PeerError);
    CHECK_THROWS_AS(buckets.give(), PeerError);
  }
}

// Whether as many ranks can run here: GPUs are not shared.
bool room_for(size_t ranks) { return kHasGloo && !nccl_version().empty() && (Gpu::emulated() || Gpu::count() >= ranks); }

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
      comm->give_up(error.what());
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
      CHECK(ranks.wrote(rank, "error") == "1 rank 1 is gone: its process died or was killed, or the network dropped it");
    ranks.wait(1);
  }
}

TEST_CASE("gpus: a rank that stands still is named by the others when the timeout is over, though these wait for their GPUs") {
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
    CHECK(error_of([&] { Gpu(0, *comm); }).starts_with("1 ranks on GPUs: this build of glint has no NCCL; build it where"));
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
