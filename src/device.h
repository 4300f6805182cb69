// A device: the context that kernels take, and what the engine asks of its memory. As in kernels/, overloads on the
// context type choose the backend: src/memory.cpp has the CPU's, src/cuda/ those of NVIDIA GPUs, in builds with CUDA.
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
  // GPU number `index`. Throws UserError where this build has no CUDA, or there is no driver, no such GPU or one older
  // than sm_80. tf32: products of fp32 may round their inputs.
  static Device cuda(int index = 0, bool tf32 = false);
#ifdef GLINT_WITH_CUDA
  static constexpr bool kHasCuda = true;
#else
  static constexpr bool kHasCuda = false;
#endif

  const Context& context() const { return context_; }
  bool is_cpu() const { return std::holds_alternative<CpuContext>(context_); }
  const std::string& name() const { return name_; }  // "cpu", or the GPU's

 private:
  Device(Context context, std::string name, std::shared_ptr<const void> owned)
      : context_(context), name_(std::move(name)), owned_(std::move(owned)) {}

  Context context_;
  std::string name_ = "cpu";
  std::shared_ptr<const void> owned_;
};

// What `glint info` says of a GPU.
struct GpuInfo {
  std::string name;
  int capability = 0;  // 90: compute capability 9.0
  int multiprocessors = 0;
  size_t memory = 0;  // bytes
};
// The GPUs of this machine; where there are none, `fault` says why.
std::vector<GpuInfo> gpus_here(std::string& fault);

// Zeroed memory; null where that much is not to be had, which is then said in `fault` ("24 GB free").
void* allocate(const CpuContext& ctx, size_t bytes, std::string& fault);
void release(const CpuContext& ctx, void* data, size_t bytes);
// Copies between the host's and the device's memory, behind all work given to the context before; done on return.
void copy_to_device(const CpuContext& ctx, void* device, const void* host, size_t bytes);
void copy_to_host(const CpuContext& ctx, void* host, const void* device, size_t bytes);
// Waits for all work given to the context.
void synchronize(const CpuContext& ctx);
// How long the work takes that `give` gives to the context.
double seconds_of(const CpuContext& ctx, const std::function<void()>& give);
// The same for each of several pieces of work, given one behind the other; a GPU is not waited for between them.
std::vector<double> seconds_of_each(const CpuContext& ctx, const std::vector<std::function<void()>>& work);
// What gives the same work to the context again, with what then stands in the device's memory; a CUDA graph on a GPU.
// The work must not wait, nor touch the device's memory other than by kernels.
std::function<void()> capture(const CpuContext& ctx, const std::function<void()>& give);

void* allocate(const CudaContext& ctx, size_t bytes, std::string& fault);
void release(const CudaContext& ctx, void* data, size_t bytes);
// Bytes that nobody has taken of the GPU's memory, and all that it has.
std::pair<size_t, size_t> free_and_total(const CudaContext& ctx);
void copy_to_device(const CudaContext& ctx, void* device, const void* host, size_t bytes);
void copy_to_host(const CudaContext& ctx, void* host, const void* device, size_t bytes);
void synchronize(const CudaContext& ctx);
double seconds_of(const CudaContext& ctx, const std::function<void()>& give);
std::vector<double> seconds_of_each(const CudaContext& ctx, const std::vector<std::function<void()>>& work);
std::function<void()> capture(const CudaContext& ctx, const std::function<void()>& give);

}  // namespace glint
