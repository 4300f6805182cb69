// Where the threads of a block wait for each other: the barrier of the block, and the collectives of a warp.
#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/simt/async_proxy.h"

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

static std::string place(const Site& site) {
  return site.line == 0 ? site.what : std::string(site.file) + ":" + std::to_string(site.line);
}

namespace {

// The sites that launches have reached.
class Sites {
 public:
  void add(const Site& site) {
    const std::lock_guard lock(mutex_);
    const auto same = [&](const Site& other) {
      return other.what == site.what && other.file == site.file && other.line == site.line;
    };
    if (std::none_of(sites_.begin(), sites_.end(), same)) sites_.push_back(site);
  }
  std::set<std::string> take() {
    const std::lock_guard lock(mutex_);
    std::set<std::string> places;
    for (const Site& site : std::exchange(sites_, {})) places.insert(place(site));
    return places;
  }

 private:
  std::mutex mutex_;
  std::vector<Site> sites_;
};
Sites barriers, syncwarps;

}  // namespace

std::set<std::string> take_barrier_sites() { return barriers.take(); }
std::set<std::string> take_syncwarp_sites() { return syncwarps.take(); }

bool left_out(const Site& site, Fault fault) {
  if (self->lane() == 0) {
    Untracked untracked;
    (fault == Fault::no_barrier ? barriers : syncwarps).add(site);
  }
  return options.fault == fault && place(site) == options.fault_site;
}

void Block::barrier(Site site) {
  Untracked untracked;
  if (left_out(site, Fault::no_barrier)) return;
  Barrier& b = barriers_[0];
  if (b.arrived > 0 && (b.site.line != site.line || std::strcmp(b.site.file, site.file) != 0)) {
    fail("barrier divergence: " + to_string(site) + " while others wait in " + to_string(b.site));
  }
  sync(0, count_, site);
}

// One thread more at a barrier.
void Block::count_in(Barrier& b, unsigned threads, Site site) {
  if (b.arrived == 0) {
    b.site = site;
    b.expected = threads;
  }
  if (b.expected != threads) {
    fail(to_string(site) + " for " + std::to_string(threads) + " threads, " + to_string(b.site) + " for " +
         std::to_string(b.expected));
  }
  publish(token(&b, b.phase));
  b.lanes[self->warp()] |= 1u << self->lane();
  ++b.arrived;
}

void Block::complete(Barrier& b) {
  const auto partial = [&](unsigned lanes) { return lanes != 0 && lanes != ~0u; };
  if (b.expected % 32 == 0 && std::any_of(b.lanes.begin(), b.lanes.end(), partial)) {
    fail(to_string(b.site) + ": some lanes of a warp without the others");
  }
  ++b.phase;
  b.arrived = 0;
  b.lanes.fill(0);
  for (Thread* thread : b.waiting) wake(*thread);
  b.waiting.clear();
}

void Block::sync(unsigned id, unsigned threads, Site site) {
  Untracked untracked;
  Barrier& b = barriers_.at(id);
  const unsigned phase = b.phase;
  count_in(b, threads, site);
  if (b.arrived == b.expected) {
    self->site = site;
    complete(b);
    reschedule();
  } else {
    b.waiting.push_back(self);
    wait(site);
  }
  observe(token(&b, phase));
}

void Block::arrive(unsigned id, unsigned threads, Site site) {
  Untracked untracked;
  Barrier& b = barriers_.at(id);
  count_in(b, threads, site);
  if (b.arrived == b.expected) complete(b);
}

static Site named(const char* what, int id, int threads) {
  static const char* const sync_names[] = {"bar.sync 0",  "bar.sync 1",  "bar.sync 2",  "bar.sync 3",
                                           "bar.sync 4",  "bar.sync 5",  "bar.sync 6",  "bar.sync 7",
                                           "bar.sync 8",  "bar.sync 9",  "bar.sync 10", "bar.sync 11",
                                           "bar.sync 12", "bar.sync 13", "bar.sync 14", "bar.sync 15"};
  if (id < 0 || id > 15) fail(std::string(what) + ": there are barriers 0 to 15, not " + std::to_string(id));
  if (threads <= 0 || threads % 32 != 0) fail(std::string(what) + " of " + std::to_string(threads) + " threads");
  return {sync_names[id]};
}
void barrier_sync(int id, int threads) {
  const Site site = named("bar.sync", id, threads);
  if (left_out(site, Fault::no_barrier)) return;
  self->block->sync(static_cast<unsigned>(id), static_cast<unsigned>(threads), site);
}
void barrier_arrive(int id, int threads) {
  const Site site = named("bar.arrive", id, threads);
  self->block->arrive(static_cast<unsigned>(id), static_cast<unsigned>(threads), site);
}

// Registers move through the block's pool; an increase waits for them.
void setmaxnreg(int count, bool increase) {
  if (count % 8 != 0 || count < 24 || count > 256) fail("setmaxnreg: not a multiple of 8 from 24 to 256");
  Block& block = *self->block;
  block.collective(0xffffffffu, {"setmaxnreg"}, nullptr, [](const Lanes&) {});
  if (self->lane() == 0) {
    Untracked untracked;
    AsyncProxy& proxy = block.async();
    int& mine = proxy.registers[self->warp()];
    const int more = 32 * (count - mine);
    if (increase ? more < 0 : more > 0) fail("setmaxnreg in the wrong direction");
    while (proxy.spare_registers < more) {
      proxy.want_registers.push_back(self);
      block.wait({"setmaxnreg.inc, no registers left"});
    }
    proxy.spare_registers -= more;
    mine = count;
    for (Thread* thread : proxy.want_registers) block.wake(*thread);
    proxy.want_registers.clear();
  }
  block.collective(0xffffffffu, {"setmaxnreg, second part"}, nullptr, [](const Lanes&) {});
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
