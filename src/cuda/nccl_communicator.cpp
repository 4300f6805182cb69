#include "src/cuda/nccl_communicator.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "kernels/cuda/check_cuda.h"
#include "src/clock.h"
#include "src/comm/ranks.h"
#include "src/device.h"

namespace glint {

namespace {

constexpr auto kEnding = std::chrono::seconds(10);  // timeout of ncclCommFinalize
constexpr auto kErrorPollEvery = std::chrono::milliseconds(100);
constexpr auto kPoll = std::chrono::microseconds(50);
constexpr size_t kStaging = size_t{4} << 20;  // bytes

std::string reason(const char* what, ncclResult_t result) {
  const char* last = ncclGetLastError(nullptr);  // over all communicators
  return str_cat("NCCL: ", what, ": ", ncclGetErrorString(result), last && *last ? str_cat(" (", last, ")") : "",
                 "; set NCCL_DEBUG=WARN for details");
}

double seconds(std::chrono::milliseconds time) { return static_cast<double>(time.count()) / 1000; }

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const Ranks& ranks, int gpu, std::chrono::milliseconds timeout) {
  const Device device = Device::cuda(gpu);  // also makes it this thread's
  if (!std::getenv("NCCL_COMM_ID")) {
    GLINT_REQUIRE(
        !ranks.master_address.empty() && ranks.master_port > 0,
        "GPU ranks connect at MASTER_ADDR:MASTER_PORT, which are not set in the environment: set them to rank "
        "0's machine and a free port, as torchrun does");
    const bool v6 = ranks.master_address.find(':') != std::string::npos;
    const std::string host = v6 ? "[" + ranks.master_address + "]" : ranks.master_address;
    // torchrun listens at MASTER_PORT.
    setenv("NCCL_COMM_ID", str_cat(host, ":", ranks.master_port + 1).c_str(), 1);
  }
  return std::make_unique<NcclCommunicator>(ranks.rank, ranks.size, timeout);
}

NcclCommunicator::NcclCommunicator(int rank, int size, Milliseconds timeout)
    : rank_(rank), size_(size), timeout_(timeout), staging_(nullptr, [](void* memory) { cudaFree(memory); }) {
  check_cuda(cudaGetDevice(&gpu_), "cudaGetDevice");
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, kStaging), "cudaMalloc");
  staging_.reset(memory);
  try {
    connect();
  } catch (...) {
    if (handle_) ncclCommAbort(handle_);
    throw;
  }
  watchdog_ = std::thread([this] { watch(); });
  try {
    barrier();  // fails here if the GPUs can't reach each other
  } catch (const std::exception& error) {
    abort(error.what());
    changed_.notify_all();
    watchdog_.join();
    throw;
  }
}

// Non-blocking: otherwise NCCL would wait forever for a missing rank.
void NcclCommunicator::connect() {
  ncclUniqueId id = {};
  ncclResult_t result = ncclGetUniqueId(&id);
  if (result != ncclSuccess) throw Error(reason("ncclGetUniqueId", result));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  result = ncclCommInitRankConfig(&handle_, size_, id, rank_, &config);
  const auto deadline = Clock::now() + timeout_;
  while (result == ncclInProgress) {
    std::this_thread::sleep_for(kPoll);
    const char* where = std::getenv("NCCL_COMM_ID");
    GLINT_REQUIRE(Clock::now() < deadline, "the GPUs of ", size_, " ranks did not connect at ", where ? where : "?",
                  " within ", seconds(timeout_),
                  " s: check the ranks that did not start; set NCCL_DEBUG=INFO for details");
    const ncclResult_t status = ncclCommGetAsyncError(handle_, &result);
    if (status != ncclSuccess) result = status;
  }
  if (result != ncclSuccess) throw UserError(reason("connecting the ranks' GPUs", result));
}

NcclCommunicator::~NcclCommunicator() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  watchdog_.join();
  if (!handle_) return;  // aborted
  ncclResult_t result = ncclCommFinalize(handle_);
  for (const auto deadline = Clock::now() + kEnding; result == ncclInProgress && Clock::now() < deadline;) {
    std::this_thread::sleep_for(kPoll);
    if (ncclCommGetAsyncError(handle_, &result) != ncclSuccess) result = ncclInternalError;
  }
  if (result == ncclSuccess) ncclCommDestroy(handle_);
  else ncclCommAbort(handle_);
}

void NcclCommunicator::broadcast(std::span<std::byte> data, int root) {
  for (size_t at = 0; at < data.size(); at += kStaging) {
    const size_t bytes = std::min(kStaging, data.size() - at);
    run_staged("ncclBroadcast", data.data() + at, bytes, [&](ncclComm_t comm, void* device) {
      return ncclBroadcast(device, device, bytes, ncclInt8, root, comm, stream());
    });
  }
}

template <typename T>
void NcclCommunicator::reduce_host(std::span<T> data, ncclDataType_t type) {
  constexpr size_t kPiece = kStaging / sizeof(T);
  for (size_t at = 0; at < data.size(); at += kPiece) {
    const size_t n = std::min(kPiece, data.size() - at);
    run_staged("ncclAllReduce", data.data() + at, n * sizeof(T), [&](ncclComm_t comm, void* device) {
      return ncclAllReduce(device, device, n, type, ncclSum, comm, stream());
    });
  }
}

template <typename T>
void NcclCommunicator::gather_host(std::span<T> data) {
  for (int owner = 0; owner < size_; ++owner) {
    const Shard shard = shard_of(data.size(), owner, size_);
    broadcast(std::as_writable_bytes(data.subspan(shard.begin, shard.size())), owner);
  }
}

void NcclCommunicator::run_staged(const char* what, void* host, size_t bytes,
                                  const std::function<ncclResult_t(ncclComm_t, void*)>& calls) {
  check_cuda(cudaMemcpyAsync(staging_.get(), host, bytes, cudaMemcpyHostToDevice, stream()), "a copy to the GPU");
  start_timeout();
  call(what, [&](ncclComm_t comm) { return calls(comm, staging_.get()); });
  check_cuda(cudaStreamSynchronize(stream()), what);
  check();
  check_cuda(cudaMemcpyAsync(host, staging_.get(), bytes, cudaMemcpyDeviceToHost, stream()), "a copy from the GPU");
  check_cuda(cudaStreamSynchronize(stream()), "a copy from the GPU");
}

// A non-blocking communicator enqueues work in the background: its stream must stay free until then.
void NcclCommunicator::call(const char* what, const std::function<ncclResult_t(ncclComm_t)>& calls) {
  std::unique_lock lock(mutex_);
  throw_fault();
  ncclResult_t result = calls(handle_);
  while (result == ncclInProgress) {
    lock.unlock();
    std::this_thread::sleep_for(kPoll);
    lock.lock();
    throw_fault();
    const ncclResult_t status = ncclCommGetAsyncError(handle_, &result);
    if (status != ncclSuccess) result = status;
  }
  lock.unlock();
  if (result == ncclSuccess) return;
  set_fault(fault_of(what, result));
  lock.lock();
  throw_fault();
}

void NcclCommunicator::start_timeout() {
  const std::lock_guard lock(mutex_);
  if (size_ > 1) deadline_ = Clock::now() + timeout_;
}

void NcclCommunicator::check() {
  check_fault();
  const std::lock_guard lock(mutex_);
  deadline_.reset();
  throw_fault();
}

void NcclCommunicator::abort(const std::string& why) noexcept {
  try {
    set_fault({false, why});
  } catch (...) {  // out of memory: the process ends, and the other ranks notice that
  }
}

void NcclCommunicator::throw_fault() const {
  if (!fault_) return;
  if (fault_->of_peer) throw PeerError(-1, fault_->line);
  throw Error(fault_->line);
}

void NcclCommunicator::set_fault(const Fault& fault) {
  {
    const std::lock_guard lock(mutex_);
    if (!fault_) fault_ = fault;
  }
  changed_.notify_all();
}

NcclCommunicator::Fault NcclCommunicator::fault_of(const char* what, ncclResult_t result) const {
  const bool own = result == ncclInvalidArgument || result == ncclInvalidUsage || result == ncclUnhandledCudaError;
  if (own || size_ == 1) return {false, reason(what, result)};
  return {true, "another rank or the network failed: " + reason(what, result)};
}

void NcclCommunicator::check_fault() {
  ncclResult_t state = ncclSuccess;
  {
    const std::lock_guard lock(mutex_);
    if (fault_) return;
    const ncclResult_t status = ncclCommGetAsyncError(handle_, &state);
    if (status != ncclSuccess) state = status;
    if (deadline_ && Clock::now() >= *deadline_)
      fault_ = Fault{true, str_cat("another rank hangs or is gone: this one waited ", seconds(timeout_),
                                   " s for its GPU (`comm_timeout`)")};
  }
  if (state != ncclSuccess && state != ncclInProgress) set_fault(fault_of("a collective", state));
}

// Only this thread aborts: an abort waits for CUDA graphs, which the thread that found the fault may own.
void NcclCommunicator::watch() {
  cudaSetDevice(gpu_);
  std::unique_lock lock(mutex_);
  while (!closing_ && !fault_) {
    changed_.wait_for(lock, kErrorPollEvery);
    if (closing_ || fault_) break;
    lock.unlock();
    check_fault();
    lock.lock();
  }
  if (!fault_) return;
  const ncclComm_t handle = std::exchange(handle_, nullptr);
  lock.unlock();
  ncclCommAbort(handle);
}

}  // namespace glint
