// NVIDIA GPUs as devices: finding one, its stream, its memory.
#include "src/device.h"

#include <cuda_runtime.h>

#include <deque>
#include <memory>

#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/handles.h"
#include "kernels/cuda/matmul.h"
#include "src/memory.h"

namespace glint {

namespace {

constexpr int kOldest = 80;  // compute capability: the kernels need bf16 tensor cores and asynchronous copies

// Shared by all handles of a device.
struct Gpu {
  CudaStream stream;
  std::unique_ptr<CudaMatmul, void (*)(CudaMatmul*)> matmul{make_cuda_matmul(), free_cuda_matmul};
};

}  // namespace

std::vector<GpuInfo> gpus_here(std::string& fault) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  fault = found == cudaSuccess ? "this machine has no GPU" : cudaGetErrorString(found);
  std::vector<GpuInfo> gpus;
  for (int i = 0; found == cudaSuccess && i < count; ++i) {
    cudaDeviceProp properties;
    check_cuda(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
    gpus.push_back({properties.name, 10 * properties.major + properties.minor, properties.multiProcessorCount,
                    properties.totalGlobalMem});
  }
  return gpus;
}

Device Device::cuda(int index, bool tf32) {
  std::string fault;
  const std::vector<GpuInfo> gpus = gpus_here(fault);
  GLINT_REQUIRE(!gpus.empty(), "`device` cuda: ", fault,
                "; check the NVIDIA driver with nvidia-smi, or use `device` cpu");
  const int count = static_cast<int>(gpus.size());
  GLINT_REQUIRE(index >= 0 && index < count, "`device` cuda: there is no GPU ", index, "; this machine has ", count);
  const GpuInfo& info = gpus[static_cast<size_t>(index)];
  GLINT_REQUIRE(info.capability >= kOldest, "`device` cuda: ", info.name, " has compute capability ",
                info.capability / 10, ".", info.capability % 10, "; 8.0 (Ampere) or later is needed. Use `device` cpu");
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
  const auto gpu = std::make_shared<const Gpu>();
  return Device(CudaContext{gpu->stream.handle, gpu->matmul.get(), tf32}, info.name, gpu);
}

void* allocate(const CudaContext& ctx, size_t bytes, std::string& fault) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clears the error
    const auto [free, total] = free_and_total(ctx);
    fault =
        str_cat(human_bytes(static_cast<double>(free)), " of ", human_bytes(static_cast<double>(total)), " are free");
    return nullptr;
  }
  check_cuda(status, "cudaMalloc");
  check_cuda(cudaMemsetAsync(data, 0, bytes, ctx.stream), "cudaMemset");
  return data;
}
void release(const CudaContext&, void* data, size_t) { cudaFree(data); }
std::pair<size_t, size_t> free_and_total(const CudaContext&) {
  std::pair<size_t, size_t> bytes;
  check_cuda(cudaMemGetInfo(&bytes.first, &bytes.second), "cudaMemGetInfo");
  return bytes;
}

void copy_to_device(const CudaContext& ctx, void* device, const void* host, size_t bytes) {
  check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, ctx.stream), "a copy to the GPU");
  synchronize(ctx);
}
void copy_to_host(const CudaContext& ctx, void* host, const void* device, size_t bytes) {
  check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, ctx.stream), "a copy from the GPU");
  synchronize(ctx);
}
void synchronize(const CudaContext& ctx) { check_cuda(cudaStreamSynchronize(ctx.stream), "the work on the GPU"); }

double measure_seconds(const CudaContext& ctx, const std::function<void()>& enqueue) {
  return measure_seconds_of_each(ctx, {enqueue}).front();
}

std::vector<double> measure_seconds_of_each(const CudaContext& ctx, const std::vector<std::function<void()>>& work) {
  std::deque<CudaEvent> events;
  const auto record = [&] {
    check_cuda(cudaEventRecord(events.emplace_back(cudaEventDefault).handle, ctx.stream), "cudaEventRecord");
  };
  record();
  for (const auto& enqueue : work) {
    enqueue();
    record();
  }
  check_cuda(cudaEventSynchronize(events.back().handle), "the timed work");
  std::vector<double> seconds;
  for (size_t i = 0; i < work.size(); ++i) {
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, events[i].handle, events[i + 1].handle), "cudaEventElapsedTime");
    seconds.push_back(1e-3 * milliseconds);
  }
  return seconds;
}

std::function<void()> capture(const CudaContext& ctx, const std::function<void()>& enqueue) {
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(ctx.stream, &graph);  // otherwise the stream could not be used any more
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  check_cuda(cudaStreamEndCapture(ctx.stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t exec = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "cudaGraphInstantiate");
  const std::shared_ptr<CUgraphExec_st> owner(exec, [](cudaGraphExec_t e) { cudaGraphExecDestroy(e); });
  return [owner, stream = ctx.stream] { check_cuda(cudaGraphLaunch(owner.get(), stream), "cudaGraphLaunch"); };
}

}  // namespace glint
