#include "src/machine.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string_view>

namespace glint {

uint64_t machine_memory() {
  uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0)
      bytes = std::min(bytes, limit);  // "max", not a number, means no limit
  }
  return bytes;
}

namespace {

// An entry of /proc/self/status, in bytes.
uint64_t own_status(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == key && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

uint64_t peak_memory() { return own_status("VmHWM:"); }
uint64_t used_memory() { return own_status("VmRSS:"); }

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string compiled_vectors() {
#if defined(__AVX512F__)
  return "512 bits (AVX-512)";
#elif defined(__AVX2__) && defined(__FMA__)
  return "256 bits (AVX2, FMA)";
#elif defined(__AVX__)
  return "256 bits (AVX)";
#else
  return "128 bits";
#endif
}

std::string cpu_vectors() {
  std::string list;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool there, const char* name) {
    if (there) list.append(list.empty() ? "" : " ").append(name);
  };
  add(__builtin_cpu_supports("avx"), "AVX");
  add(__builtin_cpu_supports("avx2"), "AVX2");
  add(__builtin_cpu_supports("fma"), "FMA");
  add(__builtin_cpu_supports("avx512f"), "AVX-512");
#endif
  return list.empty() ? "none that glint uses" : list;
}

}  // namespace glint
