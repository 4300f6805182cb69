// mbarriers: "Parallel Synchronization and Communication Instructions: mbarrier" of the PTX ISA.
#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/simt/async_proxy.h"

namespace simt {
namespace {

// What lies in the mbarrier's eight bytes of shared memory, so that overwriting it shows.
uint64_t mark(unsigned address) {
  return 0x7265697272616200u ^ uint64_t { address } << 40;
}

uint64_t* word(Block& block, unsigned address) {
  if (address % 8 != 0) fail("an mbarrier at an address that is not a multiple of 8");
  if (address < kSharedBase || address - kSharedBase + 8 > block.dynamic_bytes()) {
    fail("an mbarrier outside the block's dynamic shared memory");
  }
  return reinterpret_cast<uint64_t*>(block.dynamic_shared() + (address - kSharedBase));
}

// ThreadSanitizer's token of a phase: who leaves it is ordered after who arrived in it.
void* token(Mbarrier& barrier, unsigned phase) { return reinterpret_cast<char*>(&barrier) + phase % 2; }

}  // namespace

void AsyncProxy::initialise(unsigned address, unsigned count) {
  if (count == 0 || count >= 1u << 20) fail("mbarrier.init with a count of " + std::to_string(count));
  *word(block_, address) = mark(address);
  for (const Mbarrier& barrier : mbarriers_) {
    if (barrier.address == address) fail("mbarrier.init of an mbarrier that is one already");
  }
  mbarriers_.push_back({address, count, count});
  unfenced_[self->warp()] |= 1u << self->lane();
}

Mbarrier& AsyncProxy::mbarrier(unsigned address) {
  for (Mbarrier& barrier : mbarriers_) {
    if (barrier.address != address) continue;
    if (*word(block_, address) != mark(address)) fail("an mbarrier has been overwritten");
    return barrier;
  }
  fail("no mbarrier has been initialised at this address");
}

void AsyncProxy::expect_fenced_mbarriers() const {
  if (std::any_of(unfenced_.begin(), unfenced_.end(), [](unsigned lanes) { return lanes != 0; })) {
    fail("an mbarrier.init is not fenced against the asynchronous proxy");
  }
}

void AsyncProxy::update(Mbarrier& barrier, unsigned arrivals, int64_t bytes) {
  if (arrivals > barrier.pending) {
    fail("more arrivals at an mbarrier than the " + std::to_string(barrier.expected) + " that it was initialised with");
  }
  barrier.pending -= arrivals;
  barrier.bytes += bytes;
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  for (Thread* thread : barrier.waiting) block_.wake(*thread);
  barrier.waiting.clear();
}

void mbarrier_init(unsigned barrier, unsigned count) {
  Untracked untracked;
  self->block->async().initialise(barrier, count);
}
void fence_mbarrier_init() {
  Untracked untracked;
  self->block->async().initialisation_fenced();
}

void mbarrier_arrive(unsigned barrier, unsigned expect_bytes) {
  Untracked untracked;
  AsyncProxy& proxy = self->block->async();
  Mbarrier& b = proxy.mbarrier(barrier);
  if (expect_bytes == 0 && released_already(barrier)) return;
  if (options.fault == Fault::wrong_bytes && expect_bytes > 0) expect_bytes -= 16;
  publish(token(b, b.phase));
  proxy.update(b, 1, expect_bytes);
}

void mbarrier_wait(unsigned barrier, unsigned parity) {
  Untracked untracked;
  Mbarrier& b = self->block->async().mbarrier(barrier);
  while (b.phase % 2 == parity) {
    b.waiting.push_back(self);
    self->block->wait({parity ? "mbarrier.try_wait, parity 1" : "mbarrier.try_wait, parity 0"});
  }
  observe(token(b, parity));
}

}  // namespace simt
