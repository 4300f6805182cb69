// Shared memory by its 32-bit address.
#include <string>

#include "kernels/simt/async_proxy.h"
#include "kernels/simt/vector_access.h"

namespace simt {

unsigned shared_address(const void* p) {
  const char* const first = self->block->dynamic_shared();
  const auto* const place = static_cast<const char*>(p);
  if (place < first || place > first + self->block->dynamic_bytes()) fail("not an address in dynamic shared memory");
  return static_cast<unsigned>(place - first) + kSharedBase;
}

static char* pointer(unsigned address, unsigned bytes) {
  if (address % bytes != 0) fail("misaligned address of " + std::to_string(bytes) + " bytes in shared memory");
  if (address < kSharedBase || address - kSharedBase + bytes > self->block->dynamic_bytes()) {
    fail("an access outside the block's dynamic shared memory");
  }
  return self->block->dynamic_shared() + (address - kSharedBase);
}

void store_shared(unsigned to, uint32_t x) { store_vector(pointer(to, 4), x); }
void store_shared(unsigned to, uint4 x) { store_vector(pointer(to, 16), x); }
uint4 load_shared(unsigned from) { return load_vector<uint4>(pointer(from, 16)); }

void stmatrix_x4(unsigned row, const uint32_t (&r)[4]) {
  struct StoreMatrix {
    uint16_t row[8];
    const uint32_t* in;
  } mine{{}, r};
  char* const to = pointer(row, 16);
  collective(0xffffffffu, {"stmatrix.x4"}, mine, [](const std::array<StoreMatrix*, 32>& lane) {
    for (size_t matrix = 0; matrix < 4; ++matrix) {
      for (size_t l = 0; l < 32; ++l) {
        for (size_t e = 0; e < 2; ++e) {
          lane[matrix * 8 + l / 4]->row[2 * (l % 4) + e] = static_cast<uint16_t>(lane[l]->in[matrix] >> (16 * e));
        }
      }
    }
  });
  store_vector(to, std::bit_cast<uint4>(mine.row));  // here, so that the access is this thread's
}

}  // namespace simt
