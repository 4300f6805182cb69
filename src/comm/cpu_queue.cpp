// Collectives on host memory: a thread runs them while other threads compute.
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "src/clock.h"
#include "src/comm/collective_queue.h"

namespace glint {

namespace {

class CpuQueue final : public CollectiveQueue {
 public:
  explicit CpuQueue(Communicator& comm) : comm_(comm), thread_([this] { work(); }) {}
  ~CpuQueue() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // Work on a CPU is done when its call returns, so a collective does not wait for anything.
  void all_reduce(float* data, size_t n) override {
    add(n * sizeof(float), [this, data, n] { comm_.all_reduce(std::span(data, n)); });
  }
  void all_reduce(double* data, size_t n) override {
    add(n * sizeof(double), [this, data, n] { comm_.all_reduce(std::span(data, n)); });
  }
  void reduce_scatter(float* data, size_t n) override {
    add(n * sizeof(float), [this, data, n] { comm_.reduce_scatter(std::span(data, n)); });
  }
  void all_gather(float* data, size_t n) override {
    add(n * sizeof(float), [this, data, n] { comm_.all_gather(std::span(data, n)); });
  }
  void all_gather(Bf16* data, size_t n) override {
    add(n * sizeof(Bf16), [this, data, n] { comm_.all_gather(std::span(data, n)); });
  }

  void join() override {
    const auto start = Clock::now();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return idle(); });
    times_.waited += seconds_since(start);
    if (fault_) std::rethrow_exception(fault_);
  }
  void check() override {
    std::lock_guard lock(mutex_);
    if (fault_) std::rethrow_exception(fault_);
  }
  Times times() const override {
    std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  bool idle() const { return work_.empty() && !busy_; }

  void add(size_t bytes, std::function<void()> call) {
    {
      std::lock_guard lock(mutex_);
      if (fault_) std::rethrow_exception(fault_);
      times_.bytes += static_cast<double>(bytes);
      work_.push_back(std::move(call));
    }
    changed_.notify_all();
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closing_ || !work_.empty(); });
      if (closing_) return;
      const std::function<void()> call = std::move(work_.front());
      work_.pop_front();
      busy_ = true;
      lock.unlock();
      const auto start = Clock::now();
      std::exception_ptr fault;
      try {
        call();
      } catch (...) {
        fault = std::current_exception();
      }
      lock.lock();
      times_.busy += seconds_since(start);
      busy_ = false;
      if (fault) {
        fault_ = fault;
        work_.clear();
      }
      changed_.notify_all();
    }
  }

  Communicator& comm_;
  mutable std::mutex mutex_;  // guards the following members except thread_
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool busy_ = false, closing_ = false;
  std::exception_ptr fault_;
  Times times_;
  std::thread thread_;  // last: uses all other members
};

}  // namespace

std::unique_ptr<CollectiveQueue> make_collective_queue(const CpuContext&, Communicator& comm) {
  return std::make_unique<CpuQueue>(comm);
}

}  // namespace glint
