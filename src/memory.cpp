#include "src/memory.h"

#include <cstdio>

#include "kernels/check.h"

namespace glint {

DeviceMemory::DeviceMemory(size_t bytes, const std::string& what, const Device& device)
    : bytes_(bytes), device_(device) {
  if (bytes == 0) return;
  std::string fault;
  data_ = device.visit([&](const auto& ctx) { return allocate(ctx, bytes, fault); });
  GLINT_REQUIRE(
      data_, "no memory for ", what, " on ", device.name(), ": ", human_bytes(static_cast<double>(bytes)),
      " are needed, ", fault,
      "; lower the batch (in training: --micro-batch), the context or the size of the model, or train with --recompute "
      "true or --optimizer-dtype bf16");
}

DeviceMemory::~DeviceMemory() {
  if (data_) device_.visit([&](const auto& ctx) { release(ctx, data_, bytes_); });
}

std::string human_bytes(double bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  int unit = 0;
  while (bytes >= 999.5 && unit < 6) bytes /= 1000, ++unit;
  char line[32];
  std::snprintf(line, sizeof line, bytes < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
  return line;
}

}  // namespace glint
