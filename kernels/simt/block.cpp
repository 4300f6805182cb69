#include "kernels/simt/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/simt/async_proxy.h"
#include "kernels/simt/cuda.h"

namespace simt {
namespace {

#ifdef SIMT_ASAN
constexpr size_t kGuardBytes = 0;  // AddressSanitizer guards by itself
#else
constexpr size_t kGuardBytes = 64;
#endif
constexpr size_t kPage = 4096;
constexpr unsigned char kGuard = 0xa5;

std::string to_string(uint3 index) {
  return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
}

unsigned some_bit(unsigned set, unsigned turn) {
  return (static_cast<unsigned>(std::countr_zero(std::rotr(set, static_cast<int>(turn % 32)))) + turn) % 32;
}
unsigned lowest(unsigned set) { return static_cast<unsigned>(std::countr_zero(set)); }
unsigned highest(unsigned set) { return 31 - static_cast<unsigned>(std::countl_zero(set)); }

}  // namespace

std::string to_string(const Site& site) {
  if (site.line == 0) return site.what;
  return std::string(site.what) + " at " + site.file + ":" + std::to_string(site.line);
}

void fail(const std::string& message) {
  throw Error("block " + to_string(blockIdx) + ", thread " + to_string(self->index) + ": " + message);
}

Block::Shared::Shared(const void* of_key, size_t of_bytes) : key(of_key), bytes(of_bytes) {
  memory.reset(static_cast<char*>(::operator new (bytes + kGuardBytes, std::align_val_t{1024})));
  std::memset(memory.get(), options.poison, bytes);
  std::memset(memory.get() + bytes, kGuard, kGuardBytes);
}
bool Block::Shared::intact() const {
  const char* guard = memory.get() + bytes;
  return std::all_of(guard, guard + kGuardBytes, [](char byte) { return static_cast<unsigned char>(byte) == kGuard; });
}

Block::Block() : stack_stride_(options.stack_bytes + kPage) {
#ifdef SIMT_ASAN
  stack_stride_ += 3 * options.stack_bytes;
#endif
}
Block::~Block() {
  if (stacks_) munmap(stacks_, stacks_held_ * stack_stride_);
}

void Block::allocate_stacks() {
  if (stacks_held_ >= count_) return;
  if (stacks_) munmap(stacks_, stacks_held_ * stack_stride_);
  stacks_held_ = count_;
  void* p = mmap(nullptr, stacks_held_ * stack_stride_, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  stacks_ = static_cast<char*>(p);
  for (size_t i = 0; i < stacks_held_; ++i) mprotect(stacks_ + i * stack_stride_, kPage, PROT_NONE);  // overflow faults
}

void Block::start_threads(dim3 shape) {
  done_ = 0;
  ready_.fill(0);
  while (pool_.size() < count_) pool_.emplace_back();
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = pool_[i];
    thread.block = this;
    thread.rank = i;
    thread.index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    thread.site = {"not started"};
    thread.copies.clear();
    thread.copy_groups = 0;
    thread.stores.clear();
    thread.store_groups = 0;
    thread.acquired = nullptr;
    thread.unfenced_acquire = false;
    thread.wgmma_waits = thread.early_releases = 0;
    thread.fiber.prepare(stacks_ + i * stack_stride_ + kPage, stack_stride_ - kPage, enter);
    wake(thread);
  }
}

void Block::start(dim3 grid, uint3 block_index, dim3 shape, size_t shared_bytes, const std::function<void()>& kernel) {
  Untracked untracked;
  grid_ = grid;
  shape_ = shape;
  index_ = block_index;
  count_ = shape.x * shape.y * shape.z;
  if (count_ == 0 || count_ > 1024) throw Error("a block of " + std::to_string(count_) + " threads");
  if (shared_bytes > kMaxSharedBytes) throw Error(std::to_string(shared_bytes) + " bytes of shared memory");
  allocate_stacks();
  dynamic_ = Shared(nullptr, shared_bytes);
  statics_.clear();
  async_used_ = false;
  for (Barrier& barrier : barriers_) {
    barrier.arrived = 0;
    barrier.lanes.fill(0);
    barrier.waiting.clear();
  }
  for (auto& warp : collectives_) {
    for (Collective& collective : warp) collective.arrived = 0;
  }
  random_ = options.seed * 1000003 + block_index.x + grid.x * (block_index.y + uint64_t{grid.y} * block_index.z);
  kernel_ = &kernel;
  error_ = nullptr;
  spinning_.clear();
  start_threads(shape);
  publish(&main_);
}

Block::State Block::resume() {
  Untracked untracked;
  gridDim = grid_;
  blockDim = shape_;
  blockIdx = index_;
  for (Thread* thread : spinning_) wake(*thread);
  spinning_.clear();
  self = &pool_[0];
  Fiber& first = choose();
  if (&first != &main_) Fiber::switch_to(main_, first);
  self = nullptr;
  observe(&done_);
  if (error_) std::rethrow_exception(error_);
  if (done_ == count_) {
    check_end();
    return State::ended;
  }
  const bool runnable = std::any_of(ready_.begin(), ready_.end(), [](unsigned lanes) { return lanes != 0; }) ||
                        (async_used_ && !async_->idle());
  if (spinning_.empty() && !runnable) throw Error("block " + to_string(index_) + ": deadlock\n" + report());
  return runnable ? State::runs : State::waits;
}

void Block::check_end() {
  bool intact = dynamic_.intact();
  for (const Shared& object : statics_) intact = intact && object.intact();
  const std::string here = "block " + to_string(index_) + ": ";
  if (!intact) throw Error(here + "a store past the end of shared memory");
  if (const char* wrong = async_used_ ? async_->wrong_at_end() : nullptr) throw Error(here + wrong);
}

// By the thread, at its end.
void Block::check_returned(Thread& thread) {
  for (const Copy& copy : thread.copies) {
    fail("returned with a cp.async of group " + std::to_string(copy.group) + " not waited for");
  }
  for (const BulkStore& store : thread.stores) {
    if (store.source.empty()) fail("returned with a bulk copy from shared memory not waited for");
  }
  if (!async_used_) return;
  thread.waits_for = Thread::Wait::stores;
  perform_stores(*async_, thread);
  if (async_->products(thread.warp()).first != async_->products(thread.warp()).last) {
    fail("returned with a wgmma not waited for");
  }
}

AsyncProxy& Block::async() {
  if (!async_used_) {
    Untracked untracked;
    if (!async_) async_ = std::make_unique<AsyncProxy>(*this);
    async_->reset();
    async_used_ = true;
  }
  return *async_;
}

// The entry function of a fiber.
SIMT_BORDER void Block::enter() {
  Block& block = *self->block;
  Fiber::entered(block.main_);
  observe(&block.main_);
  try {
    (*block.kernel_)();
    block.check_returned(*self);
  } catch (...) {
    block.error_ = std::current_exception();
  }
  publish(&block.done_);
  Fiber *mine, *next;
  {
    Untracked untracked;
    self->site = {"returned"};
    ++block.done_;
    block.ready_[self->warp()] &= ~(1u << self->lane());
    mine = &self->fiber;
    next = &block.choose();
  }
  Fiber::switch_to(*mine, *next, true);
}

void Block::wait(Site site) {
  self->site = site;
  ready_[self->warp()] &= ~(1u << self->lane());
  reschedule();
}

// Switches to the next runnable thread; returns when it is this thread's turn again.
void Block::reschedule() {
  publish(&done_);  // orders the launcher after this thread even if it never runs again
  Fiber &mine = self->fiber, &next = choose();
  if (&next != &mine) Fiber::switch_to(mine, next);
}

void Block::spin(Site site) {
  spinning_.push_back(self);
  wait(site);
}

// Performs an asynchronous operation, if there is one.
bool Block::land() {
  if (!async_used_) return false;
  try {
    return async_->land();
  } catch (...) {
    error_ = std::current_exception();
    return false;
  }
}

// What is asynchronous happens at last: when no thread can go on without it, or at any time if the order is random.
Fiber& Block::choose() {
  if (options.order == Order::random && !error_) {
    const uint64_t r = draw();
    if (r % 64 == 0) land();
    if (r % 256 == 1) return main_;
  }
  Thread* next = error_ ? nullptr : pick();
  while (!next && !error_ && done_ < count_ && land()) next = pick();
  if (!next) return main_;
  self = next;
  threadIdx = next->index;
  return next->fiber;
}

uint64_t Block::draw() {  // a Weyl sequence, mixed
  random_ += 0x9e3779b97f4a7c15u;
  return (random_ ^ random_ >> 31) * 0xbf58476d1ce4e5b9u >> 20;
}

Thread* Block::pick() {
  unsigned warps = 0;
  for (unsigned w = 0; w < (count_ + 31) / 32; ++w) warps |= static_cast<unsigned>(ready_[w] != 0) << w;
  if (!warps) return nullptr;
  unsigned lane = 0;
  if (options.order == Order::random) {
    const uint64_t r = draw();
    if (r % 8 == 0 || !(warps >> current_warp_ & 1)) current_warp_ = some_bit(warps, static_cast<unsigned>(r >> 3));
    lane = some_bit(ready_[current_warp_], static_cast<unsigned>(r >> 8));
  } else if (options.order == Order::forward) {
    current_warp_ = lowest(warps);
    lane = lowest(ready_[current_warp_]);
  } else {
    current_warp_ = highest(warps);
    lane = highest(ready_[current_warp_]);
  }
  return &pool_[current_warp_ * 32 + lane];
}

void* Block::static_shared(const void* key, size_t bytes, size_t alignment) {
  Untracked untracked;
  for (Shared& object : statics_) {
    if (object.key == key) return object.memory.get();
  }
  if (alignment > 1024) fail("shared memory aligned to more than 1024 bytes");
  return statics_.emplace_back(key, bytes).memory.get();
}

// What the threads wait for: one line for neighbours in the same state.
std::string Block::report() const {
  std::string lines;
  for (unsigned i = 0; i < count_;) {
    const Site& site = pool_[i].site;
    const auto same = [&](const Site& other) { return other.what == site.what && other.line == site.line; };
    unsigned last = i;
    while (last + 1 < count_ && same(pool_[last + 1].site)) ++last;
    lines += "  thread " + to_string(pool_[i].index) + (last > i ? " to " + to_string(pool_[last].index) : "") + ": ";
    lines += to_string(site) + "\n";
    i = last + 1;
  }
  return lines;
}

}  // namespace simt
