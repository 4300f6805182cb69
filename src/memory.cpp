#include "src/memory.h"

#include <sys/mman.h>

#include <cstdio>

#include "kernels/check.h"

namespace glint {

DeviceMemory::DeviceMemory(size_t bytes, const std::string& what) : bytes_(bytes) {
  if (bytes == 0) return;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  GLINT_REQUIRE(pages != MAP_FAILED, "no memory for ", what, ": ", human_bytes(static_cast<double>(bytes)),
                " were refused; lower --micro-batch, --context or the size of the model, or use --recompute true");
  madvise(pages, bytes, MADV_HUGEPAGE);  // a hint: fewer page faults and TLB misses over large arenas
  data_ = pages;
}

DeviceMemory::~DeviceMemory() {
  if (data_) munmap(data_, bytes_);
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
