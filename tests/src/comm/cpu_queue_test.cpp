#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "src/comm/collective_queue.h"
#include "tests/train/run_program.h"

using namespace glint;

namespace {

// Records its calls, slowly, and fails at call number `fails_at`.
class Recording final : public Communicator {
 public:
  explicit Recording(int fails_at = -1) : fails_at_(fails_at) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void all_reduce(std::span<float> data) override { record(1, data.size()); }
  void all_reduce(std::span<double> data) override { record(2, data.size()); }
  void reduce_scatter(std::span<float> data) override { record(3, data.size()); }
  void all_gather(std::span<float> data) override { record(4, data.size()); }
  void all_gather(std::span<Bf16> data) override { record(5, data.size()); }
  void broadcast(std::span<std::byte>, int) override {}
  void abort(const std::string&) noexcept override {}

  std::vector<size_t> calls;

 private:
  void record(size_t kind, size_t n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (static_cast<int>(calls.size()) == fails_at_) throw PeerError(1, "rank 1 is gone");
    calls.push_back(10 * n + kind);
  }
  const int fails_at_;
};

}  // namespace

TEST_CASE("[threads] comm: a CPU queue runs calls in order, concurrently with its caller, until join()") {
  Recording comm;
  std::vector<float> floats(9);
  std::vector<double> doubles(3);
  std::vector<Bf16> halves(7);
  const auto queue = make_collective_queue(CpuContext{}, comm);
  for (int round = 0; round < 2; ++round) {
    comm.calls.clear();
    queue->all_reduce(floats.data(), 9);
    queue->all_reduce(doubles.data(), 3);
    queue->reduce_scatter(floats.data(), 8);
    queue->all_gather(floats.data(), 8);
    queue->all_gather(halves.data(), 7);
    queue->join();
    CHECK(comm.calls == std::vector<size_t>{91, 32, 83, 84, 75});
  }
  const auto times = queue->times();
  CHECK(times.bytes == 2 * (4 * 9 + 8 * 3 + 4 * 8 + 4 * 8 + 2 * 7));
  CHECK(times.busy >= 0.05);
}

TEST_CASE("[threads] comm: a fault in a CPU queue is thrown by join() and every later call") {
  Recording comm(1);
  std::vector<float> data(4);
  const auto queue = make_collective_queue(CpuContext{}, comm);
  for (int i = 0; i < 4; ++i) {
    try {
      queue->all_reduce(data.data(), 4);
    } catch (const PeerError&) {  // the fault has already happened
    }
  }
  CHECK_THROWS_AS(queue->join(), PeerError);
  CHECK_THROWS_AS(queue->all_reduce(data.data(), 4), PeerError);
  CHECK_THROWS_AS(queue->check(), PeerError);
  CHECK(comm.calls.size() == 1);
}
