#include "src/device.h"

#include <sys/mman.h>

#include <cstring>

#include "kernels/check.h"
#include "src/clock.h"

namespace glint {

#ifndef GLINT_WITH_CUDA
Device Device::cuda(int, bool) {
  throw UserError(
      "`device` cuda: this build of glint has no CUDA; build it where a CUDA toolkit is found, or use `device` cpu");
}
std::vector<GpuInfo> gpus_here(std::string& fault) {
  fault = "this build has no CUDA";
  return {};
}
#endif

void* allocate(const CpuContext&, size_t bytes, std::string& fault) {
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    fault = "the system has no free memory";
    return nullptr;
  }
  madvise(pages, bytes, MADV_HUGEPAGE);  // a hint: fewer page faults and TLB misses over large arenas
  return pages;
}
void release(const CpuContext&, void* data, size_t bytes) { munmap(data, bytes); }

void copy_to_device(const CpuContext&, void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}
void copy_to_host(const CpuContext&, void* host, const void* device, size_t bytes) { std::memcpy(host, device, bytes); }
void synchronize(const CpuContext&) {}

double measure_seconds(const CpuContext&, const std::function<void()>& enqueue) {
  const auto start = Clock::now();
  enqueue();
  return seconds_since(start);
}

std::vector<double> measure_seconds_of_each(const CpuContext& ctx, const std::vector<std::function<void()>>& work) {
  std::vector<double> seconds;
  for (const auto& enqueue : work) seconds.push_back(measure_seconds(ctx, enqueue));
  return seconds;
}

std::function<void()> capture(const CpuContext&, const std::function<void()>& enqueue) { return enqueue; }

}  // namespace glint
