// Tests of collectives between GPUs: serial sums, ordered with other work, inside and outside of a CUDA graph.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/residual.h"
#include "src/comm/collective_queue.h"
#include "src/device.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/emulation.h"
#include "tests/src/comm/rank_values.h"

namespace glint::test {

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
      : device(Device::cuda(local_rank % static_cast<int>(count()))),
        ctx(std::get<CudaContext>(device.context())),
        comm(ranks) {}
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

// The emulated device adds in the order of ranks; NCCL in its own order.
template <typename T>
void check_sum(const std::vector<T>& got, const std::vector<T>& expected, int ranks, Shard part) {
  const double unit = Gpu::emulated() || ranks == 1 ? 0.0 : ranks * (sizeof(T) == 8 ? 0x1p-53 : 0x1p-24);
  size_t wrong = 0;
  for (size_t i = part.begin; i < part.end; ++i)
    if (!(std::abs(got[i] - expected[i]) <= unit * ranks * kLargestValue)) ++wrong;
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

inline void check_shards(const Gpu& gpu, size_t n) {
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

inline void check_collectives(const Gpu& gpu) {
  const double before = gpu.queue->times().bytes;
  for (size_t n : {1, 17, 96, 1000, 6144}) {  // some divisible by 2 and 3, and fewer than ranks
    INFO("n ", n, ", rank ", gpu.comm.rank(), " of ", gpu.comm.size());
    check_all_reduce<float>(gpu, n);
    check_all_reduce<double>(gpu, n);
    check_shards(gpu, n);
  }
  gpu.queue->all_reduce(static_cast<float*>(nullptr), 0);
  gpu.queue->join();
  CHECK(gpu.queue->times().bytes - before == (1 + 17 + 96 + 1000 + 6144) * (4.0 + 8 + 4 + 4 + 2));
}

// Like a small backward: kernels fill buckets one after another, each is exchanged while the next is filled, and work
// after join() reads all of them. Values are small whole numbers: sums are exact in any order.
class Buckets {
 public:
  explicit Buckets(const Gpu& gpu) : gpu_(gpu) {
    for (int i = 0; i < kBuckets; ++i) buckets_.emplace_back(kShape.C), results_.emplace_back(kShape.C);
  }
  void fill(int turn) {
    for (int i = 0; i < kShape.C; ++i)
      input_[static_cast<size_t>(i)] = static_cast<float>(turn + i % 7 + 10 * gpu_.comm.rank());
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

inline void check_buckets(const Gpu& gpu) {
  Buckets buckets(gpu);
  const double before = gpu.queue->times().bytes;
  int turn = 0;
  size_t wrong = 0;
  for (; turn < 6; ++turn) {
    buckets.fill(turn);
    buckets.give();
    wrong += buckets.wrong(turn);
  }
  CHECK(wrong == 0);
  const CollectiveQueue::Times plain = gpu.queue->times();
  const std::function<void()> again = capture(gpu.ctx, [&] { buckets.give(); });
  for (; turn < 12; ++turn) {
    buckets.fill(turn);
    again();
    again();  // at once: the first replay must not touch the second's data
    wrong += buckets.wrong(turn);
  }
  CHECK(wrong == 0);
  CHECK(gpu.queue->times().bytes == plain.bytes);  // a replay counts after count_replay()
  CHECK(gpu.queue->times().busy == plain.busy);
  gpu.queue->count_replay();
  const CollectiveQueue::Times counted = gpu.queue->times();
  CHECK(counted.bytes == doctest::Approx(before + (plain.bytes - before) * 7 / 6));  // of six plain turns
  CHECK(counted.waited >= plain.waited);
  if (gpu.comm.size() > 1) CHECK(counted.busy > plain.busy);
  buckets.fill(turn);
  buckets.give();
  CHECK(buckets.wrong(turn) == 0);
}

}  // namespace glint::test
