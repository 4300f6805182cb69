#include "kernels/simt/async_proxy.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace simt {

void AsyncProxy::reset() {
  view_.assign(block_.dynamic_bytes(), static_cast<char>(options.poison));
  fencing_.fill(0);
  stale_ = false;
  mbarriers_.clear();
  unfenced_.fill(0);
  loads_.clear();
  late_.clear();
  for (Products& products : products_) {
    products.issued.fill(0);
    products.groups.fill(0);
    products.fenced = products.first = products.last = products.arrived = 0;
  }
  const unsigned threads = (block_.threads() + 31) / 32 * 32;
  const unsigned each = options.registers ? options.registers : std::min(255u, 65536 / threads) / 8 * 8;
  registers.fill(static_cast<int>(each));
  spare_registers = 0;
  want_registers.clear();
}

char* AsyncProxy::view(unsigned address, size_t bytes) {
  if (address < kSharedBase || address - kSharedBase + bytes > view_.size()) {
    fail("an asynchronous operation leaves the block's dynamic shared memory");
  }
  return &view_[address - kSharedBase];
}

// The whole of shared memory is copied; once for the fences of a warp's lanes, or when something is issued before all
// of them have come.
void AsyncProxy::fence() {
  unsigned& lanes = fencing_[self->warp()];
  lanes |= 1u << self->lane();
  stale_ = true;
  const unsigned in_warp = std::min(32u, block_.threads() - self->warp() * 32);
  if (lanes != (in_warp == 32 ? ~0u : (1u << in_warp) - 1)) return;
  lanes = 0;
  before_issue();
}
void AsyncProxy::before_issue() {
  if (!stale_) return;
  std::memcpy(view_.data(), block_.dynamic_shared(), view_.size());
  stale_ = false;
}

// The target of a copy, by the thread that issues it, so that ThreadSanitizer detects who may still use it.
void AsyncProxy::poison(unsigned address, size_t bytes) {
  char *const seen = view(address, bytes), *const memory = block_.dynamic_shared() + (address - kSharedBase);
#ifdef SIMT_TSAN
  for (size_t i = 0; i < bytes / 8; ++i) reinterpret_cast<uint64_t*>(memory)[i] = 0x0101010101010101u * options.poison;
  Untracked untracked;
#else
  std::memset(memory, options.poison, bytes);
#endif
  std::memset(seen, options.poison, bytes);
}

const char* AsyncProxy::wrong_at_end() const {
  if (!idle()) return "ended with asynchronous copies in flight";
  for (unsigned warp = 0; warp < (block_.threads() + 31) / 32; ++warp) {
    if (products_[warp].last != products_[warp / 4 * 4].last) {
      return "the warps of a warpgroup have not issued the same wgmma";
    }
  }
  return nullptr;
}

bool AsyncProxy::land() {
  const auto some = [&](size_t size) {
    return options.order == Order::forward ? 0 : options.order == Order::reverse ? size - 1 : block_.draw() % size;
  };
  if (!loads_.empty()) {
    const size_t i = some(loads_.size());
    const Load load = loads_[i];
    loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(i));
    land(load);
    return true;
  }
  if (late_.empty()) return false;
  const size_t i = some(late_.size());
  Thread& thread = *late_[i];
  late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
  if (thread.waits_for == Thread::Wait::products) {
    land_products(thread);
  } else {
    perform_stores(*this, thread);
    block_.wake(thread);
  }
  return true;
}

// What a warp waits for, and with it what other warps of its warpgroup do, unless the order is random.
void AsyncProxy::land_products(Thread& thread) {
  const auto land_warp = [&](unsigned warp) {
    perform_products(*this, warp);
    for (unsigned lane = 0; lane < 32; ++lane) block_.wake(block_.thread(warp * 32 + lane));
  };
  for (DecodedMatrix& matrix : decoded_) matrix.n = 0;
  land_warp(thread.warp());
  if (options.order == Order::random && block_.draw() % 2 == 0) return;
  std::erase_if(late_, [&](const Thread* other) {
    const bool together = other->waits_for == Thread::Wait::products && other->warp() / 4 == thread.warp() / 4;
    if (together) land_warp(other->warp());
    return together;
  });
}

void fence_proxy_async() {
  Untracked untracked;
  if (options.fault == Fault::no_proxy_fence && options.fault_site != "global") return;
  self->block->async().fence();
  self->block->async().initialisation_fenced();
}
void fence_proxy_async_global() {
  if (options.fault == Fault::no_proxy_fence && options.fault_site != "shared") return;
  self->unfenced_acquire = false;
}

}  // namespace simt
