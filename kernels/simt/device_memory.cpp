#include "kernels/simt/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"

namespace simt {

namespace {

constexpr size_t kPage = 4096, kGuardedBytes = size_t{1} << 36;  // addresses, not memory
constexpr size_t kPoisoned =
    size_t{4} << 20;  // bytes of an allocation that are filled; a whole workspace would take long

struct Allocation {
  size_t bytes;
  bool guarded;
};
using Allocations = std::map<uintptr_t, Allocation>;

std::recursive_mutex mutex;
Allocations on_device, pinned;
char* guarded_region = nullptr;  // reserved once; its addresses are handed out in order and never reused
size_t guarded_used = 0;
int unguarded = 0;

uintptr_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

bool lies_in(const Allocations& allocations, const void* pointer) {
  auto next = allocations.upper_bound(address(pointer));
  if (next == allocations.begin()) return false;
  --next;
  return address(pointer) < next->first + next->second.bytes;
}

void protect(bool open) {
  if (guarded_used) mprotect(guarded_region, guarded_used, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// Ends at the end of a page, as closely as 256-byte alignment allows.
void* allocate_guarded(size_t bytes) {
  if (!guarded_region) {
    void* region = mmap(nullptr, kGuardedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return nullptr;
    guarded_region = static_cast<char*>(region);
  }
  const size_t aligned = (bytes + 255) / 256 * 256, pages = (aligned + kPage - 1) / kPage * kPage;
  if (guarded_used + pages + kPage > kGuardedBytes) return nullptr;
  char* result = guarded_region + guarded_used + pages - aligned;
  guarded_used += pages;
  mprotect(result - (pages - aligned), pages, PROT_READ | PROT_WRITE);
  return result;
}

}  // namespace

void* allocate_device(size_t bytes) {
  const std::scoped_lock lock(mutex);
  if (bytes > device.memory || counts.allocated > device.memory - bytes) return nullptr;
  void* memory = nullptr;
  if (device.guarded) {
    memory = allocate_guarded(bytes);
  } else if (posix_memalign(&memory, 256, bytes) != 0) {
    memory = nullptr;
  }
  if (!memory) return nullptr;
  std::memset(memory, 0xff, std::min(bytes, kPoisoned));
  counts.allocated += bytes;
  on_device[address(memory)] = {bytes, device.guarded};
  if (!unguarded) protect(false);
  return memory;
}

bool free_device(void* pointer) {
  const std::scoped_lock lock(mutex);
  const auto found = on_device.find(address(pointer));
  if (found == on_device.end()) return false;
  const auto [bytes, guarded] = found->second;
  on_device.erase(found);
  counts.allocated -= bytes;
  if (guarded) {
    const size_t pages = (bytes + kPage - 1) / kPage * kPage;
    madvise(reinterpret_cast<void*>(address(pointer) / kPage * kPage), pages, MADV_DONTNEED);
  } else {
    std::free(pointer);
  }
  return true;
}

bool is_device(const void* pointer) {
  const std::scoped_lock lock(mutex);
  return lies_in(on_device, pointer);
}
bool is_pinned(const void* pointer) {
  const std::scoped_lock lock(mutex);
  return lies_in(pinned, pointer);
}

void* allocate_pinned(size_t bytes) {
  const std::scoped_lock lock(mutex);
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes) != 0) return nullptr;
  pinned[address(memory)] = {bytes, false};
  return memory;
}
bool free_pinned(void* pointer) {
  const std::scoped_lock lock(mutex);
  if (!pinned.erase(address(pointer))) return false;
  std::free(pointer);
  return true;
}

Unguarded::Unguarded() {
  const std::scoped_lock lock(mutex);
  if (unguarded++ == 0) protect(true);
}
Unguarded::~Unguarded() {
  const std::scoped_lock lock(mutex);
  if (--unguarded == 0) protect(false);
}

// A heuristic: a word of eight bytes that is an address of mapped memory, but not of the device's.
void check_argument(const void* argument, size_t bytes, const std::function<std::string()>& what) {
  if (!device.guarded) return;
  for (size_t at = 0; at + 8 <= bytes; at += 8) {
    uintptr_t word;
    std::memcpy(&word, static_cast<const char*>(argument) + at, 8);
    if (word < uintptr_t{0x500000000000} || word >= uintptr_t{0x800000000000}) continue;
    if ((word & 0xffffffff) < (1u << 20)) continue;  // more likely a small number beside old padding
    void* pointer = reinterpret_cast<void*>(word);
    if (is_device(pointer) || is_pinned(pointer)) continue;
    void* page = reinterpret_cast<void*>(word / kPage * kPage);
    if (msync(page, kPage, MS_ASYNC) != 0 && errno == ENOMEM) continue;  // not mapped
    throw Error(what() + ": the kernel is given an address of host memory (byte " + std::to_string(at) +
                " of an argument)");
  }
}

}  // namespace simt
