// A device: the context for kernels, its memory, timing, and graph capture. As in kernels/,
// overloads on the context type choose the backend: src/device.cpp has the CPU's, src/cuda/device.cpp those of NVIDIA
// GPUs.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/context.h"

namespace glint {

#ifdef GLINT_WITH_CUDA
using Context = std::variant<CpuContext, CudaContext>;
#else
using Context = std::variant<CpuContext>;
#endif

// A handle, cheap to copy; the last copy closes the device's stream.
class Device {
 public:
  Device(const CpuContext& cpu) : context_(cpu) {}  // NOLINT: a CpuContext is a device
  // GPU number `index`. Throws UserError if this build has no CUDA, or there is no driver or no such GPU, or it is
  // older than sm_80. tf32: products of fp32 may round their inputs.
  static Device cuda(int index = 0, bool tf32 = false);
#ifdef GLINT_WITH_CUDA
  static constexpr bool kHasCuda = true;
#else
  static constexpr bool kHasCuda = false;
#endif

  const Context& context() const { return context_; }
  // Calls it with the CpuContext or CudaContext.
  template <typename Call>
  auto visit(Call&& call) const {
    return std::visit(call, context_);
  }
  bool is_cpu() const { return std::holds_alternative<CpuContext>(context_); }
  const std::string& name() const { return name_; }  // "cpu", or the GPU's

 private:
  Device(Context context, std::string name, std::shared_ptr<const void> owned)
      : context_(context), name_(std::move(name)), owned_(std::move(owned)) {}

  Context context_;
  std::string name_ = "cpu";
  std::shared_ptr<const void> owned_;
};

struct GpuInfo {
  std::string name;
  int capability = 0;  // 90: compute capability 9.0
  int multiprocessors = 0;
  size_t memory = 0;  // bytes
};
// The GPUs of this machine; if there are none, `fault` is the reason.
std::vector<GpuInfo> gpus_here(std::string& fault);

// Zeroed memory. Null if there is not enough; `fault` is then like "1 GB of 24 GB are free".
void* allocate(const CpuContext& ctx, size_t bytes, std::string& fault);
void release(const CpuContext& ctx, void* data, size_t bytes);
// Copies between host and device memory after all work enqueued so far; done on return.
void copy_to_device(const CpuContext& ctx, void* device, const void* host, size_t bytes);
void copy_to_host(const CpuContext& ctx, void* host, const void* device, size_t bytes);
// Waits for all enqueued work.
void synchronize(const CpuContext& ctx);
// Seconds taken by the work that `enqueue` enqueues.
double measure_seconds(const CpuContext& ctx, const std::function<void()>& enqueue);
// The same for several calls in order, without waiting for a GPU in between.
std::vector<double> measure_seconds_of_each(const CpuContext& ctx, const std::vector<std::function<void()>>& work);
// Records the work and returns a function that enqueues it again: on a GPU one CUDA graph. The work must not wait, and
// must access device memory in kernels only.
std::function<void()> capture(const CpuContext& ctx, const std::function<void()>& enqueue);

void* allocate(const CudaContext& ctx, size_t bytes, std::string& fault);
void release(const CudaContext& ctx, void* data, size_t bytes);
// Bytes of the GPU's memory: free, and in total.
std::pair<size_t, size_t> free_and_total(const CudaContext& ctx);
void copy_to_device(const CudaContext& ctx, void* device, const void* host, size_t bytes);
void copy_to_host(const CudaContext& ctx, void* host, const void* device, size_t bytes);
void synchronize(const CudaContext& ctx);
double measure_seconds(const CudaContext& ctx, const std::function<void()>& enqueue);
std::vector<double> measure_seconds_of_each(const CudaContext& ctx, const std::vector<std::function<void()>>& work);
std::function<void()> capture(const CudaContext& ctx, const std::function<void()>& enqueue);

}  // namespace glint
