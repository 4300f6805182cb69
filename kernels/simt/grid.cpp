// A grid: its blocks, of which each worker keeps a few resident, and the numbers by which they wait for each other.
#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/simt/async_proxy.h"
#include "kernels/simt/cuda.h"

namespace simt {
namespace {

// Counts what another block may wait for: releases, acquires of a new number, blocks that end.
std::atomic<uint64_t> progress = 0;

class Grid {
 public:
  Grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel)
      : grid_(grid),
        block_(block),
        shared_bytes_(shared_bytes),
        kernel_(kernel),
        blocks_(uint64_t{grid.x} * grid.y * grid.z),
        workers_(std::max<uint64_t>(1, std::min<uint64_t>(options.workers, blocks_))),
        states_(workers_) {}

  void run() {
    std::vector<std::thread> helpers;
    for (size_t i = 1; i < workers_; ++i) helpers.emplace_back([this, i] { work(states_[i]); });
    work(states_[0]);
    for (std::thread& helper : helpers) helper.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  using Blocks = std::vector<std::unique_ptr<Block>>;
  struct State {  // of a worker
    bool ended = false;
    unsigned idle_turns = 0;  // in which all of its blocks waited for others, and `progress` stayed what it was
    uint64_t progress = 0;
  };

  void work(State& state) {
    static thread_local Blocks spare;  // they keep their stacks from launch to launch
    Blocks resident;
    try {
      while (!failed_ && turn(state, resident, spare)) {
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      failed_ = true;
    }
    const std::lock_guard lock(mutex_);
    state.ended = true;
  }

  // A turn of each resident block. False when no block is left.
  bool turn(State& state, Blocks& resident, Blocks& spare) {
    const uint64_t before = progress;
    const size_t wanted = options.order == Order::random ? std::min<size_t>(2, most()) : 1;
    while (resident.size() < wanted && start_another(resident, spare)) {
    }
    if (resident.empty()) return false;
    bool all_wait = true;
    for (size_t i = 0; i < resident.size();) {
      const Block::State block = resident[i]->resume();
      all_wait = all_wait && block == Block::State::waits;
      if (block != Block::State::ended) {
        ++i;
        continue;
      }
      ++progress;
      spare.push_back(std::move(resident[i]));
      resident.erase(resident.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (!all_wait || progress != before) return true;
    if (resident.size() < most() && start_another(resident, spare)) return true;
    check_deadlock(state, before, resident);
    std::this_thread::yield();
    return true;
  }

  size_t most() const { return std::max<size_t>(1, options.resident); }

  bool start_another(Blocks& resident, Blocks& spare) {
    const uint64_t n = next_.fetch_add(1);
    if (n >= blocks_) return false;
    const uint64_t i = options.order == Order::reverse ? blocks_ - 1 - n : n;
    if (spare.empty()) spare.push_back(std::make_unique<Block>());
    resident.push_back(std::move(spare.back()));
    spare.pop_back();
    const uint3 index = {static_cast<unsigned>(i % grid_.x), static_cast<unsigned>(i / grid_.x % grid_.y),
                         static_cast<unsigned>(i / grid_.x / grid_.y)};
    resident.back()->start(grid_, index, block_, shared_bytes_, kernel_);
    return true;
  }

  // Throws if no worker's blocks have got on in two turns: the first may have come before another block's last step.
  void check_deadlock(State& state, uint64_t before, const Blocks& resident) {
    const std::lock_guard lock(mutex_);
    state.idle_turns = state.progress == before ? state.idle_turns + 1 : 1;
    state.progress = before;
    const auto stuck = [&](const State& s) { return s.ended || (s.idle_turns >= 2 && s.progress == progress); };
    if (!std::all_of(states_.begin(), states_.end(), stuck)) return;
    std::string report = "deadlock: each of the resident blocks waits for another";
    for (const auto& block : resident) report += "\n" + block->report();
    throw Error(report);
  }

  const dim3 grid_, block_;
  const size_t shared_bytes_;
  const std::function<void()>& kernel_;
  const uint64_t blocks_;
  const size_t workers_;
  std::atomic<uint64_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::vector<State> states_;
  std::exception_ptr error_;
};

}  // namespace

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  begin_launch();
  Grid(grid, block, shared_bytes, kernel).run();
}

// A thread that acquires the number that it has already seen there waits for another: other blocks have their turn.
int load_acquire(const int* p) {
  int value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
  if (self->acquired == p && self->acquired_value == value) {
    {
      Untracked untracked;
      self->block->spin({"ld.acquire"});
    }
    value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
  }
  Untracked untracked;
  if (self->acquired != p || self->acquired_value != value) ++progress;
  self->acquired = p;
  self->acquired_value = value;
  self->unfenced_acquire = true;
  return options.fault == Fault::wrong_turn ? value + 1 : value;
}
void store_release(int* p, int value) {
  __atomic_store_n(p, value, __ATOMIC_RELEASE);
  ++progress;
}

}  // namespace simt
