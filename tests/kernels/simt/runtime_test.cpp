// The emulated device finds wrong uses of streams, graphs and memory, and accepts right ones.
#include <doctest/doctest.h>

#include <vector>

#include "kernels/simt/cuda_headers/cuda_runtime.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"

namespace {

struct SavedDevice {
  simt::DeviceOptions saved = simt::device;
  ~SavedDevice() { simt::device = saved; }
};

struct Streams {
  cudaStream_t copy = nullptr, work = nullptr;
  cudaEvent_t copied = nullptr;
  Streams() {
    cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&work, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
  }
  ~Streams() {
    cudaEventDestroy(copied);
    cudaStreamDestroy(copy);
    cudaStreamDestroy(work);
  }
};

// In how many of 40 seeds one stream reads what the other has written.
int seen_in_time(bool with_event) {
  const SavedDevice saved;
  int seen = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    simt::device.late = true;
    simt::device.seed = seed;
    int value = 0, found = -1;
    const Streams s;  // declared last: its destructor runs what is still queued
    simt::enqueue(s.copy, [&] { value = 7; });
    cudaEventRecord(s.copied, s.copy);
    if (with_event) cudaStreamWaitEvent(s.work, s.copied);
    simt::enqueue(s.work, [&] { found = value; });
    CHECK(found == -1);  // nothing has run yet
    cudaStreamSynchronize(s.work);
    seen += found == 7;
  }
  return seen;
}

}  // namespace

TEST_CASE("emulator: a stream that does not wait for another may run too early") {
  CHECK(seen_in_time(true) == 40);
  const int lucky = seen_in_time(false);
  CHECK(lucky > 0);
  CHECK(lucky < 40);
}

TEST_CASE("emulator: a captured graph replays its work every time, in the order of its dependencies") {
  const SavedDevice saved;
  simt::device.late = true;
  Streams s;
  std::vector<int> order;
  const auto note = [&](int what) { return [&order, what] { order.push_back(what); }; };
  cudaEvent_t joined;
  cudaEventCreateWithFlags(&joined, cudaEventDisableTiming);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(s.work, cudaStreamCaptureModeGlobal) == cudaSuccess);
  simt::enqueue(s.work, note(1));
  cudaEventRecord(s.copied, s.work);
  cudaStreamWaitEvent(s.copy, s.copied);
  simt::enqueue(s.copy, note(2));
  simt::enqueue(s.work, note(3));
  cudaEventRecord(joined, s.copy);
  cudaStreamWaitEvent(s.work, joined);
  simt::enqueue(s.work, note(4));
  REQUIRE(cudaStreamEndCapture(s.work, &graph) == cudaSuccess);
  CHECK(order.empty());
  cudaGraphExec_t exec = nullptr;
  cudaGraphInstantiate(&exec, graph);
  cudaGraphDestroy(graph);
  bool swapped = false, straight = false;
  for (int replay = 0; replay < 40; ++replay) {
    order.clear();
    cudaGraphLaunch(exec, s.work);
    cudaStreamSynchronize(s.work);
    REQUIRE(order.size() == 4);
    CHECK(order.front() == 1);
    CHECK(order.back() == 4);
    (order[1] == 2 ? straight : swapped) = true;
  }
  CHECK(straight);
  CHECK(swapped);
  cudaGraphExecDestroy(exec);
  cudaEventDestroy(joined);
}

TEST_CASE("emulator: a call that is not allowed during capture invalidates it") {
  Streams s;
  void* memory = nullptr;
  float milliseconds = 0;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMalloc(&memory, 16); }, [&] { return cudaStreamSynchronize(s.work); },
      [&] { return cudaEventElapsedTime(&milliseconds, s.copied, s.copied); }};
  for (const auto& call : calls) {
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(s.work, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(call() == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(s.work, &graph) == cudaErrorStreamCaptureInvalidated);
  }
}

TEST_CASE("emulator: a branch of a capture that does not join is refused") {
  Streams s;
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(s.work, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaEventRecord(s.copied, s.work);
  cudaStreamWaitEvent(s.copy, s.copied);
  simt::enqueue(s.copy, [] {});
  CHECK(cudaStreamEndCapture(s.work, &graph) == cudaErrorStreamCaptureUnjoined);
}

TEST_CASE("emulator: memory is counted, starts as NaN, and takes copies of the right direction only") {
  const SavedDevice saved;
  simt::device.memory = simt::counts.allocated + 1000;
  void *memory = nullptr, *more = nullptr;
  REQUIRE(cudaMalloc(&memory, 600) == cudaSuccess);
  CHECK(cudaMalloc(&more, 600) == cudaErrorMemoryAllocation);
  float values[4] = {1, 2, 3, 4}, back[4];
  REQUIRE(cudaMemcpy(back, memory, sizeof back, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(back[0] != back[0]);
  CHECK(cudaMemcpy(back, values, sizeof back, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(memory, values, sizeof values, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  REQUIRE(cudaMemcpy(memory, values, sizeof values, cudaMemcpyHostToDevice) == cudaSuccess);
  REQUIRE(cudaMemcpy(back, memory, sizeof back, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(back[3] == 4.0f);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaFree(values) == cudaErrorInvalidValue);
}

TEST_CASE("emulator: in guarded mode a kernel's arguments may only point to the device") {
  const SavedDevice saved;
  simt::device.guarded = true;
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 64) == cudaSuccess);
  const struct {
    const void* pointer;
    size_t n;
  } good{static_cast<char*>(memory) + 8, 3}, bad{&saved, 3};
  const auto what = [] { return "a launch"; };
  CHECK_NOTHROW(simt::check_argument(&good, sizeof good, what));
  CHECK_THROWS_AS(simt::check_argument(&bad, sizeof bad, what), simt::Error);
  {
    const simt::Unguarded open;
    static_cast<float*>(memory)[0] = 1.0f;
  }
  CHECK(cudaFree(memory) == cudaSuccess);
}

TEST_CASE("emulator: the device says what it is set to be") {
  const SavedDevice saved;
  simt::device = simt::device_options("capability=90 multiprocessors=5");
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
  CHECK(value == 9);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == 5);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrClockRate, 0) == cudaErrorInvalidValue);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 1) == cudaErrorInvalidDevice);
  cudaDeviceProp properties;
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.major == 9);
  CHECK(properties.multiProcessorCount == 5);
  CHECK(simt::device_options(nullptr).capability == 80);
}
