#include "tests/src/cuda/nccl_stand_in/nccl_link.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "kernels/simt/runtime.h"
#include "kernels/simt/streams.h"
#include "src/comm/ranks.h"

namespace simt {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::mutex last_error_mutex;
std::string last_error;

}  // namespace

std::string last_nccl_error() {
  const std::lock_guard lock(last_error_mutex);
  return last_error;
}

NcclLink::NcclLink(int its_rank, int its_size, const std::string& folder)
    : rank(its_rank), size(its_size), folder_(folder), thread_([this] { connect(); }) {}

NcclLink::~NcclLink() {
  stop();
  thread_.join();
  std::error_code gone;  // where all came together, it is
  if (rank == 0) fs::remove_all(folder_, gone);
}

// Rank by rank, a file each, so that a rank that does not come can be waited for without an end, and an abort ends
// that.
bool NcclLink::all_are_here() const {
  for (int other = 0; other < size; ++other)
    if (!fs::exists(fs::path(folder_) / std::to_string(other))) return false;
  return true;
}

void NcclLink::connect() {
  try {
    std::ofstream(fs::path(folder_) / std::to_string(rank)).flush();
    while (!all_are_here()) {
      std::this_thread::sleep_for(2ms);
      const std::lock_guard lock(mutex_);
      if (stopped_) return;
    }
    glint::Ranks ranks;
    ranks.rank = rank;
    ranks.size = size;
    glint::GlooOptions place;
    place.folder = folder_;
    place.launch = "nccl";
    place.timeout = 10min;
    auto connected = size == 1 ? glint::make_single_communicator() : make_gloo_communicator(ranks, place);
    if (rank == 0) fs::remove_all(folder_);
    const std::lock_guard lock(mutex_);
    ranks_ = std::move(connected);
    state_ = ncclSuccess;
  } catch (const std::exception& error) {
    fail(ncclSystemError, error.what());
  }
}

ncclResult_t NcclLink::give(std::vector<Given> given) {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || !unsent_.empty() || finalizing_) return ncclInvalidUsage;
  unsent_ = std::move(given);
  giver_ = std::this_thread::get_id();
  asked_ = 0;
  return ncclInProgress;
}

ncclResult_t NcclLink::finalize() {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || !unsent_.empty()) return ncclInvalidUsage;
  finalizing_ = true;
  giver_ = std::this_thread::get_id();
  asked_ = 0;
  return ncclInProgress;
}

ncclResult_t NcclLink::state() {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || (unsent_.empty() && !finalizing_)) return state_;
  if (std::this_thread::get_id() != giver_ || asked_++ == 0) return ncclInProgress;
  finalizing_ = false;
  for (const Given& one : std::exchange(unsent_, {})) send(one);
  return ncclSuccess;
}

// Not by simt::enqueue: where the device is not late that would run the work, in a call from which NCCL returns at
// once.
void NcclLink::send(const Given& given) {
  const auto work = [self = shared_from_this(), collective = given.work] { self->run(collective); };
  if (given.stream->graph) return enqueue(given.stream, [work, held = captured_] { work(); });
  ++counts.launches;
  given.stream->queue.push_back({work});
}

void NcclLink::run(const Collective& collective) {
  std::unique_lock lock(mutex_);
  if (stopped_) return;
  lock.unlock();
  try {
    return collective(*ranks_);
  } catch (const std::exception& error) {
    fail(ncclRemoteError, error.what());
  }
  lock.lock();
  changed_.wait(lock, [&] { return stopped_; });
}

void NcclLink::fail(ncclResult_t result, const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    state_ = result;
  }
  const std::lock_guard lock(last_error_mutex);
  last_error = why;
}

glint::Communicator* NcclLink::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
  return ranks_.get();
}

void NcclLink::abort() {
  if (glint::Communicator* ranks = stop()) ranks->abort("its NCCL communicator was aborted");
  wait_for_graphs(30s);
}

void NcclLink::wait_for_graphs(std::chrono::milliseconds limit) const {
  for (auto waited = 0ms; captured_.use_count() > 1; waited += 1ms) {
    if (waited >= limit) {
      std::fputs("NCCL would wait for ever: a graph that captured work of this communicator outlives it\n", stderr);
      std::abort();
    }
    std::this_thread::sleep_for(1ms);
  }
}

}  // namespace simt
