// The emulated device's memory.
#pragma once

#include <cstddef>

namespace simt {

void* allocate_device(size_t bytes);  // null: out of memory
bool free_device(void* pointer);      // false: not an allocation
bool is_device(const void* pointer);  // anywhere in an allocation
bool is_pinned(const void* pointer);
void* allocate_pinned(size_t bytes);
bool free_pinned(void* pointer);

// While one exists, guarded memory is accessible: the device's work runs.
class Unguarded {
 public:
  Unguarded();
  ~Unguarded();
};

}  // namespace simt
