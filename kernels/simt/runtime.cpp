// The calls of the CUDA runtime, on the emulated device.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "kernels/simt/cuda_headers/cuda_runtime.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/streams.h"

using simt::counts;
using simt::device;

namespace {
thread_local int current_device = 0;

// For calls that are not allowed while a stream is captured.
cudaError_t wait_for(const std::function<void()>& wait) {
  if (simt::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  ++counts.synchronisations;
  wait();
  return cudaSuccess;
}
cudaError_t driver_fault() {
  return !device.driver ? cudaErrorInsufficientDriver : device.devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}
}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
  }
  return "unrecognized error code";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device.driver ? device.devices : 0;
  return driver_fault();
}
cudaError_t cudaSetDevice(int index) {
  if (driver_fault() != cudaSuccess) return driver_fault();
  if (index < 0 || index >= device.devices) return cudaErrorInvalidDevice;
  current_device = index;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* index) {
  *index = current_device;
  return driver_fault();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (index < 0 || index >= device.devices) return cudaErrorInvalidDevice;
  std::snprintf(properties->name, sizeof properties->name, "emulated GPU");
  properties->totalGlobalMem = device.memory;
  properties->major = device.capability / 10;
  properties->minor = device.capability % 10;
  properties->multiProcessorCount = device.multiprocessors;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  if (index < 0 || index >= device.devices) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = device.multiprocessors;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = device.capability / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = device.capability % 10;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(simt::kMaxSharedBytes);
      return cudaSuccess;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
    case cudaDevAttrGlobalMemoryBusWidth:
      break;  // it has none
  }
  return cudaErrorInvalidValue;
}
cudaError_t cudaDeviceSynchronize() { return wait_for(simt::run_all); }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = device.driver ? 13000 : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (simt::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  *pointer = simt::allocate_device(bytes);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* pointer) {
  if (!pointer) return cudaSuccess;
  simt::run_all();  // work in the queues may still use it
  return simt::free_device(pointer) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  *pointer = simt::allocate_pinned(bytes);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (!pointer) return cudaSuccess;
  simt::run_all();
  return simt::free_pinned(pointer) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = device.memory;
  *free = device.memory - counts.allocated;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const bool to_device = kind != cudaMemcpyDeviceToHost, from_device = kind != cudaMemcpyHostToDevice;
  if (simt::is_device(to) != to_device || simt::is_device(from) != from_device) return cudaErrorInvalidValue;
  if (from_device || simt::is_pinned(from)) {
    simt::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    if (kind == cudaMemcpyDeviceToHost && stream && !simt::is_pinned(to)) return cudaStreamSynchronize(stream);
    return cudaSuccess;
  }
  const auto* first = static_cast<const char*>(from);  // pageable: read now
  simt::enqueue(stream,
                [to, now = std::vector<char>(first, first + bytes)] { std::memcpy(to, now.data(), now.size()); });
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (simt::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  ++counts.synchronisations;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes > 0 && !simt::is_device(to)) return cudaErrorInvalidValue;
  simt::enqueue(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  simt::seed_streams(device.seed);
  *stream = simt::streams.emplace_back(std::make_unique<CUstream_st>()).get();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  simt::run_until_empty(*stream);
  std::erase_if(simt::streams, [&](const auto& known) { return known.get() == stream; });
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!stream) return cudaDeviceSynchronize();
  return wait_for([&] { simt::run_until_empty(*stream); });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->graph) {  // the stream joins the capture
    stream->graph = event->graph;
    for (const size_t node : event->after)
      if (std::find(stream->after.begin(), stream->after.end(), node) == stream->after.end())
        stream->after.push_back(node);
    return cudaSuccess;
  }
  if (stream->graph) return cudaErrorStreamCaptureUnsupported;
  if (event->recorded > 0) simt::push(*stream, {nullptr, event, event->recorded});
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || stream->graph) return cudaErrorStreamCaptureUnsupported;
  stream->graph = new CUgraph_st;
  stream->graph->origin = stream;
  stream->after.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->graph || stream->graph->origin != stream) return cudaErrorStreamCaptureInvalidated;
  *graph = stream->graph;
  std::set<size_t> joined(stream->after.begin(), stream->after.end());
  for (size_t i = (*graph)->nodes.size(); i-- > 0;)
    if (joined.contains(i)) joined.insert((*graph)->nodes[i].after.begin(), (*graph)->nodes[i].after.end());
  for (const auto& known : simt::streams) {
    if (known->graph != *graph) continue;
    known->graph = nullptr;
    known->after.clear();
  }
  const bool whole = joined.size() == (*graph)->nodes.size();
  if (whole && !(*graph)->invalid) return cudaSuccess;
  delete std::exchange(*graph, nullptr);
  return whole ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream && stream->graph ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  simt::run_all();  // streams may still refer to it
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->graph = stream ? stream->graph : nullptr;
  if (event->graph) {
    event->after = stream->after;
    return cudaSuccess;
  }
  const uint64_t ticket = ++event->recorded;
  const auto reach = [=] {
    event->done = std::max(event->done, ticket);
    event->when = simt::now();
  };
  if (stream) {
    simt::push(*stream, {reach});
  } else {
    simt::enqueue(nullptr, reach);
  }
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  if (flags != cudaEventRecordExternal) return cudaEventRecord(event, stream);
  if (!stream || !stream->graph) return cudaErrorInvalidValue;
  simt::enqueue(stream, [=] {
    event->done = ++event->recorded;
    event->when = simt::now();
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return wait_for([&] { simt::run_until(nullptr, [&] { return event->done >= event->recorded; }); });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (simt::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  if (start->recorded == 0 || end->recorded == 0) return cudaErrorInvalidValue;
  if (start->done < start->recorded || end->done < end->recorded) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->when - start->when).count();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{*graph};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  ++counts.graph_launches;
  simt::enqueue(stream, [exec] { simt::replay(exec->graph); });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  simt::run_all();
  delete exec;
  return cudaSuccess;
}
