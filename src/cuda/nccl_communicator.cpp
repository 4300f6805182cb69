#include "src/cuda/nccl_communicator.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/check_cuda.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;
// How long all GPUs may take to connect, and to end in good order.
constexpr auto kConnecting = std::chrono::seconds(120), kEnding = std::chrono::seconds(10);
constexpr auto kLookEvery = std::chrono::milliseconds(100), kBeatEvery = std::chrono::milliseconds(500);
constexpr auto kPoll = std::chrono::microseconds(50);
// Others may notice before the ranks' first communicator does that a rank is gone; it alone knows what that one gave as
// its reason.
constexpr auto kNaming = std::chrono::milliseconds(1000);

std::string reason(const char* what, ncclResult_t result) {
  const char* last = ncclGetLastError(nullptr);  // of any communicator
  return str_cat("NCCL: ", what, ": ", ncclGetErrorString(result), last && *last ? str_cat(" (", last, ")") : "",
                 "; NCCL_DEBUG=WARN in the environment says more");
}

// Made by rank 0, which NCCL_COMM_ID may tell where.
ncclUniqueId common_id(Communicator& comm) {
  ncclUniqueId id = {};
  if (comm.rank() == 0) {
    const ncclResult_t result = ncclGetUniqueId(&id);
    if (result != ncclSuccess) {
      const std::string line = reason("ncclGetUniqueId", result);
      comm.abort(line);
      throw Error(line);
    }
  }
  comm.broadcast(std::as_writable_bytes(std::span(id.internal)), 0);
  return id;
}

}  // namespace

NcclCommunicator::NcclCommunicator(Communicator& comm) : comm_(comm) {
  check_cuda(cudaGetDevice(&gpu_), "cudaGetDevice");
  try {
    connect();
    beats_ = comm_.duplicate();
  } catch (...) {
    if (handle_) ncclCommAbort(handle_);
    throw;
  }
  watcher_ = std::thread([this] { watch(); });
  if (beats_) beater_ = std::thread([this] { beat(); });
}

// A communicator that does not block: a rank that does not come would otherwise be waited for without an end.
void NcclCommunicator::connect() {
  const ncclUniqueId id = common_id(comm_);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t result = ncclCommInitRankConfig(&handle_, comm_.size(), id, comm_.rank(), &config);
  const auto deadline = Clock::now() + kConnecting;
  while (result == ncclInProgress) {
    std::this_thread::sleep_for(kPoll);
    comm_.check();
    GLINT_REQUIRE(Clock::now() < deadline, "NCCL could not connect the GPUs of ", comm_.size(), " ranks within ",
                  std::chrono::seconds(kConnecting).count(),
                  " s; NCCL_DEBUG=INFO in the environment says what it tried");
    const ncclResult_t asked = ncclCommGetAsyncError(handle_, &result);
    if (asked != ncclSuccess) result = asked;
  }
  if (result == ncclSuccess) return;
  const Fault fault = fault_behind("connecting the ranks' GPUs", result);
  if (fault.rank != kNobody) throw PeerError(fault.rank, fault.line);
  throw Error(fault.line);
}

NcclCommunicator::~NcclCommunicator() {
  try {
    const auto deadline = Clock::now() + kEnding;
    ncclResult_t result = ncclInProgress;
    for (bool first = true; result == ncclInProgress && Clock::now() < deadline; first = false) {
      if (!first) std::this_thread::sleep_for(kPoll);
      const std::lock_guard lock(mutex_);
      if (fault_) break;
      if (first) result = ncclCommFinalize(handle_);
      if (!first && ncclCommGetAsyncError(handle_, &result) != ncclSuccess) result = ncclInternalError;
    }
    if (result != ncclSuccess) abandon();
  } catch (...) {  // out of memory
  }
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  watcher_.join();
  if (handle_) ncclCommDestroy(handle_);
  if (!beats_) return;
  if (const auto fault = named(std::chrono::milliseconds(0)))
    beats_->abort(fault->line);  // else it would wait for others
  beater_.join();
}

void NcclCommunicator::call(const char* what, const std::function<ncclResult_t(ncclComm_t)>& calls) {
  std::unique_lock lock(mutex_);
  throw_fault();
  const ncclResult_t result = calls(handle_);
  lock.unlock();
  settle(what, result);
}

// A communicator that does not block puts work on its stream in the background: nothing may be given to the stream
// before.
void NcclCommunicator::settle(const char* what, ncclResult_t result) {
  while (result == ncclInProgress) {
    std::unique_lock lock(mutex_);
    throw_fault();
    const ncclResult_t asked = ncclCommGetAsyncError(handle_, &result);
    if (asked != ncclSuccess) result = asked;
    lock.unlock();
    if (result == ncclInProgress) std::this_thread::sleep_for(kPoll);
  }
  if (result == ncclSuccess) return;
  blame(fault_behind(what, result));
  const std::lock_guard lock(mutex_);
  throw_fault();
}

void NcclCommunicator::check() {
  look();
  const std::lock_guard lock(mutex_);
  throw_fault();
}

void NcclCommunicator::abandon() { blame({kNobody, "NCCL's communicator was given up"}); }

void NcclCommunicator::throw_fault() const {
  if (!fault_) return;
  if (fault_->rank != kNobody) throw PeerError(fault_->rank, fault_->line);
  throw Error(fault_->line);
}

void NcclCommunicator::blame(const Fault& fault) {
  {
    const std::lock_guard lock(mutex_);
    if (!fault_) fault_ = fault;
  }
  changed_.notify_all();
}

std::optional<NcclCommunicator::Fault> NcclCommunicator::named(std::chrono::milliseconds patience) {
  try {
    for (const auto deadline = Clock::now() + patience;; std::this_thread::sleep_for(kLookEvery / 10)) {
      comm_.check();
      const std::lock_guard lock(mutex_);
      if (fault_ || Clock::now() >= deadline) return fault_;
    }
  } catch (const PeerError& error) {
    return Fault{error.rank, error.what()};
  }
}

NcclCommunicator::Fault NcclCommunicator::fault_behind(const char* what, ncclResult_t result) {
  const bool own = result == ncclInvalidArgument || result == ncclInvalidUsage || comm_.size() == 1;
  if (const auto fault = named(own ? std::chrono::milliseconds(0) : kNaming)) return *fault;
  const std::string line = reason(what, result);
  comm_.abort(line);
  return {kNobody, line};
}

void NcclCommunicator::look() {
  if (const auto fault = named(std::chrono::milliseconds(0))) return blame(*fault);
  ncclResult_t state = ncclSuccess;
  {
    const std::lock_guard lock(mutex_);
    if (fault_) return;
    const ncclResult_t asked = ncclCommGetAsyncError(handle_, &state);
    if (asked != ncclSuccess) state = asked;
  }
  if (state != ncclSuccess && state != ncclInProgress) blame(fault_behind("a collective", state));
}

// Until a rank leaves: all learn of it in the same exchange, their last one.
void NcclCommunicator::beat() {
  std::vector<float> leaving(static_cast<size_t>(comm_.size()));
  try {
    while (std::all_of(leaving.begin(), leaving.end(), [](float leaves) { return leaves == 0.0f; })) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kBeatEvery, [this] { return closing_ || fault_; });
        if (fault_) return;
        leaving[static_cast<size_t>(comm_.rank())] = closing_ ? 1.0f : 0.0f;
      }
      beats_->all_reduce(leaving);
    }
  } catch (const PeerError& error) {
    blame(named(kNaming).value_or(Fault{error.rank, error.what()}));
  } catch (const std::exception& error) {
    blame({kNobody, error.what()});
  }
}

// The abort is this thread's alone: it waits for the graphs' end, which may be up to the thread that found the fault.
void NcclCommunicator::watch() {
  cudaSetDevice(gpu_);
  std::unique_lock lock(mutex_);
  while (!closing_ && !fault_) {
    changed_.wait_for(lock, kLookEvery);
    if (closing_ || fault_) break;
    lock.unlock();
    look();
    lock.lock();
  }
  if (!fault_) return;
  const ncclComm_t handle = std::exchange(handle_, nullptr);
  lock.unlock();
  ncclCommAbort(handle);
}

}  // namespace glint
