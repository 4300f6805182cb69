// Copies by TMA: boxes of tensors, and contiguous bytes.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "kernels/simt/async_proxy.h"

namespace simt {
namespace {

constexpr uint64_t kMagic = 0x70616d20726f736e;

unsigned bytes_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
  }
  return 0;
}

// Bits 4 to 6 of a shared address, at most `swizzle` of them, are xored with bits 7 to 9.
unsigned swizzled(unsigned address, unsigned swizzle) { return address ^ (address >> 7 & ((1u << swizzle) - 1)) << 4; }

void issue(Load load, unsigned barrier) {
  AsyncProxy& proxy = self->block->async();
  proxy.poison(load.to, load.bytes);
  Untracked untracked;
  proxy.expect_fenced_mbarriers();
  load.barrier = &proxy.mbarrier(barrier);
  publish(reinterpret_cast<char*>(load.barrier) + load.barrier->phase % 2);
  proxy.issue(load);
}

void check_bulk(const void* global, unsigned shared, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0 || shared % 16 != 0 || bytes % 16 != 0 || bytes == 0) {
    fail("a bulk copy's addresses and size must be multiples of 16 bytes");
  }
  if (self->unfenced_acquire) fail("a bulk copy after an acquire, without fence.proxy.async.global between them");
}

}  // namespace

void tma_load(unsigned to, const CUtensorMap* map, unsigned barrier, std::initializer_list<int> at) {
  Load load{};
  std::memcpy(&load.map, map, sizeof load.map);
  const TensorMap& m = load.map;
  if (m.magic != kMagic || !aligned(map, 64)) fail("not a tensor map");
  if (m.rank != at.size()) fail("a tensor map of rank " + std::to_string(m.rank));
  std::copy(at.begin(), at.end(), load.at.begin());
  load.to = to;
  load.bytes = m.element;
  for (unsigned i = 0; i < m.rank; ++i) load.bytes *= m.box[i];
  // The swizzle's pattern repeats after 1 << swizzle times 128 bytes.
  if (to % (128u << m.swizzle) != 0) fail("a TMA copy's target must be aligned to its swizzle's pattern");
  // So on an H100, measured of 128 bytes.
  if (m.swizzle > 0 && load.at[0] * m.element % 16 != 0) {
    fail("a swizzled TMA copy's first coordinate must be a multiple of 16 bytes: an illegal instruction");
  }
  issue(load, barrier);
}

void bulk_load(unsigned to, const void* global, unsigned bytes, unsigned barrier) {
  check_bulk(global, to, bytes);
  Load load{};
  load.from = static_cast<const char*>(global);
  load.to = to;
  load.bytes = bytes;
  issue(load, barrier);
}

// Row by row of the box; what lies outside the tensor is zero.
void AsyncProxy::land(const Load& load) {
  Untracked untracked;
  char* const seen = view(load.to, load.bytes) - load.to;
  char* const memory = block_.dynamic_shared() - kSharedBase;
  const TensorMap& m = load.map;
  if (m.rank == 0) {
    std::memcpy(seen + load.to, load.from, load.bytes);
    std::memcpy(memory + load.to, load.from, load.bytes);
    return update(*load.barrier, 0, -int64_t{load.bytes});
  }
  const unsigned row_bytes = unsigned{m.box[0]} * m.element;
  const int64_t x = load.at[0], first = std::clamp<int64_t>(-x, 0, m.box[0]),
                last = std::clamp<int64_t>(static_cast<int64_t>(m.size[0]) - x, first, m.box[0]);
  alignas(16) char row[256 * 8];
  for (unsigned r = 0; r < load.bytes / row_bytes; ++r) {
    const char* from = m.base + x * m.element;
    bool inside = true;
    unsigned rest = r;
    for (unsigned i = 1; i < m.rank; ++i) {
      const int64_t place = int64_t{load.at[i]} + rest % m.box[i];
      rest /= m.box[i];
      inside = inside && place >= 0 && place < static_cast<int64_t>(m.size[i]);
      from += place * static_cast<int64_t>(m.stride[i - 1]);
    }
    if (!inside || last - first < m.box[0]) std::memset(row, 0, row_bytes);
    if (inside) {
      std::memcpy(row + first * m.element, from + first * m.element, static_cast<size_t>((last - first) * m.element));
    }
    for (unsigned at = 0; at < row_bytes; at += 16) {
      const unsigned to = swizzled(load.to + r * row_bytes + at, m.swizzle);
      __builtin_memcpy(seen + to, row + at, 16);
      __builtin_memcpy(memory + to, row + at, 16);
    }
  }
  update(*load.barrier, 0, -int64_t{load.bytes});
}

void bulk_store(void* global, unsigned from, unsigned bytes, bool add) {
  check_bulk(global, from, bytes);
  Untracked untracked;
  AsyncProxy& proxy = self->block->async();
  proxy.before_issue();
  proxy.view(from, bytes);  // checks that it lies in shared memory
  self->stores.push_back({global, from, bytes, add, self->store_groups});
}
void bulk_commit() { ++self->store_groups; }
void bulk_wait(bool read) {
  Untracked untracked;
  if (self->stores.empty() || self->stores.front().group >= self->store_groups) return;
  self->waits_for = read ? Thread::Wait::stores_read : Thread::Wait::stores;
  self->block->async().land_at_last(*self);
  self->block->wait({read ? "cp.async.bulk.wait_group.read" : "cp.async.bulk.wait_group"});
}

// Reads the sources of a thread's committed stores, and writes to global memory if that is waited for.
void perform_stores(AsyncProxy& proxy, Thread& thread) {
  Untracked untracked;
  for (BulkStore& store : thread.stores) {
    if (store.group >= thread.store_groups || !store.source.empty()) continue;
    const char* source = proxy.view(store.from, store.bytes);
    store.source.assign(source, source + store.bytes);
  }
  if (thread.waits_for == Thread::Wait::stores_read) return;
  for (; !thread.stores.empty() && !thread.stores.front().source.empty(); thread.stores.pop_front()) {
    const BulkStore& store = thread.stores.front();
    if (!store.add) {
      std::memcpy(store.to, store.source.data(), store.bytes);
      continue;
    }
    auto* to = static_cast<float*>(store.to);
    for (size_t i = 0; i < store.bytes / 4; ++i) {
      float x;
      std::memcpy(&x, &store.source[4 * i], 4);
      std::atomic_ref<float>(to[i]).fetch_add(x, std::memory_order_relaxed);
    }
  }
}

}  // namespace simt

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                CUtensorMapFloatOOBfill fill) {
  const unsigned element = simt::bytes_of(type);
  bool good = map && simt::aligned(map, 64) && element > 0 && rank >= 1 && rank <= 5 && base && simt::aligned(base, 16);
  good = good && interleave == CU_TENSOR_MAP_INTERLEAVE_NONE && swizzle >= CU_TENSOR_MAP_SWIZZLE_NONE &&
         swizzle <= CU_TENSOR_MAP_SWIZZLE_128B && promotion >= CU_TENSOR_MAP_L2_PROMOTION_NONE &&
         promotion <= CU_TENSOR_MAP_L2_PROMOTION_L2_256B && fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  good = good && sizes && box && element_strides && (strides || rank == 1);
  if (!good) return CUDA_ERROR_INVALID_VALUE;
  simt::TensorMap m{};
  m.magic = simt::kMagic;
  m.base = static_cast<char*>(base);
  m.rank = static_cast<uint8_t>(rank);
  m.element = static_cast<uint8_t>(element);
  m.swizzle = static_cast<uint8_t>(swizzle);
  for (unsigned i = 0; i < rank; ++i) {
    // The hardware allows steps of elements too; they are not emulated.
    if (sizes[i] == 0 || sizes[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || element_strides[i] != 1) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    m.size[i] = sizes[i];
    m.box[i] = static_cast<uint16_t>(box[i]);
    if (i == 0) continue;
    if (strides[i - 1] % 16 != 0 || strides[i - 1] >= uint64_t{1} << 40) return CUDA_ERROR_INVALID_VALUE;
    m.stride[i - 1] = strides[i - 1];
  }
  const unsigned row_bytes = box[0] * element;
  if (row_bytes % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  if (swizzle != CU_TENSOR_MAP_SWIZZLE_NONE && row_bytes > 16u << swizzle) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}
