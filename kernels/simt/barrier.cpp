// Where the threads of a block wait for each other: the barrier of the block, and the collectives of a warp.
#include <bit>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/simt/block.h"

#ifdef SIMT_TSAN
extern "C" void AnnotateIgnoreReadsBegin(const char*, int);
extern "C" void AnnotateIgnoreReadsEnd(const char*, int);
extern "C" void AnnotateIgnoreWritesBegin(const char*, int);
extern "C" void AnnotateIgnoreWritesEnd(const char*, int);
#endif

namespace simt {

#ifdef SIMT_TSAN
Untracked::Untracked() {
  AnnotateIgnoreReadsBegin("", 0);
  AnnotateIgnoreWritesBegin("", 0);
}
Untracked::~Untracked() {
  AnnotateIgnoreWritesEnd("", 0);
  AnnotateIgnoreReadsEnd("", 0);
}
#endif

// Two tokens in turn: a thread that still leaves one phase must not be ordered after one that already arrives at the
// next.
static void* token(void* collective, unsigned phase) { return static_cast<char*>(collective) + phase % 2; }

static std::string place(const Site& site) { return std::string(site.file) + ":" + std::to_string(site.line); }

static std::mutex sites_mutex;
static std::set<std::string> sites;

std::set<std::string> take_barrier_sites() {
  const std::lock_guard lock(sites_mutex);
  return std::exchange(sites, {});
}

void Block::barrier(Site site) {
  Untracked untracked;
  if (self->rank == 0) {
    const std::lock_guard lock(sites_mutex);
    sites.insert(place(site));
  }
  if (options.fault == Fault::no_barrier && place(site) == options.fault_site) return;
  Barrier& b = barrier_;
  if (b.arrived == 0) b.site = site;
  if (b.site.line != site.line || std::strcmp(b.site.file, site.file) != 0) {
    fail("barrier divergence: " + to_string(site) + " while others wait in " + to_string(b.site));
  }
  const unsigned phase = b.phase;
  publish(token(&b, phase));
  self->site = site;
  if (++b.arrived == count_) {
    ++b.phase;
    b.arrived = 0;
    for (Thread* thread : b.waiting) wake(*thread);
    b.waiting.clear();
    reschedule();
  } else {
    b.waiting.push_back(self);
    wait(site);
  }
  observe(token(&b, phase));
}

void Block::collective(unsigned mask, Site site, void* brought, const std::function<void(const Lanes&)>& compute,
                       Memory memory) {
  Untracked untracked;
  const unsigned warp = self->warp(), lane = self->lane(), lanes = std::min(32u, count_ - warp * 32);
  if (lanes < 32) mask &= (1u << lanes) - 1;
  if (!(mask >> lane & 1)) fail(to_string(site) + ": the calling lane is not in the mask");
  Collective& m = collectives_[warp][static_cast<unsigned>(std::countr_zero(mask))];
  if (!m.arrived) {
    m.mask = mask;
    m.site = site;
    m.brought.fill(nullptr);
  }
  if (m.mask != mask || std::strcmp(m.site.what, site.what) != 0 || m.site.line != site.line) {
    fail("warp divergence: " + to_string(site) + " while other lanes wait in " + to_string(m.site));
  }
  const bool ordered = memory == Memory::ordered;
  const unsigned phase = m.phase;
  if (ordered) publish(token(&m, phase));
  m.brought[lane] = brought;
  m.arrived |= 1u << lane;
  self->site = site;
  if (m.arrived == mask) {
    ++m.phase;
    m.arrived = 0;
    compute(m.brought);
    ready_[warp] |= mask;
    reschedule();
  } else {
    wait(site);
  }
  if (ordered) observe(token(&m, phase));
}

}  // namespace simt
