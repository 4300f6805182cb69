// One thread block: its threads, which of them runs, where they wait, and its shared memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/simt/fiber.h"
#include "kernels/simt/simt.h"

namespace simt {

struct Site {  // the call that a thread waits in
  const char* what = "";
  const char* file = "";
  int line = 0;
};
std::string to_string(const Site& site);

struct Copy {  // a cp.async that has not happened yet
  void* to;
  const void* from;
  unsigned bytes, from_bytes;  // the rest is zeroed
  unsigned group;
};

struct BulkStore {  // a bulk copy to global memory that has not happened yet
  void* to;
  unsigned from, bytes;
  bool add;
  unsigned group;
  std::vector<char> source{};  // once it has been read
};

class AsyncProxy;
class Block;

struct Thread {
  Fiber fiber;
  Block* block = nullptr;
  unsigned rank = 0;
  uint3 index{};
  Site site{};
  std::deque<Copy> copies;
  unsigned copy_groups = 0;  // committed so far
  std::deque<BulkStore> stores;
  unsigned store_groups = 0;
  enum class Wait { none, products, stores_read, stores } waits_for = Wait::none;  // operations that happen at last
  const int* acquired = nullptr;  // the number that it has acquired last, which is what it waits for
  int acquired_value = 0;
  bool unfenced_acquire = false;  // no global proxy fence since
  unsigned wgmma_waits = 0, early_releases = 0;

  unsigned lane() const { return rank % 32; }
  unsigned warp() const { return rank / 32; }
};
inline thread_local Thread* self = nullptr;  // the CUDA thread that runs on this OS thread

// Whether Options::fault leaves out the call at this site, which is noted for take_barrier_sites() or its like.
bool left_out(const Site& site, Fault fault);

// For ThreadSanitizer: what a thread did before publish(token) happens before what another does after observe(token).
#ifdef SIMT_TSAN
inline void publish(void* token) { __tsan_release(token); }
inline void observe(void* token) { __tsan_acquire(token); }
#else
inline void publish(void*) {}
inline void observe(void*) {}
#endif

// Hides the emulator's own bookkeeping from ThreadSanitizer.
struct Untracked {
#ifdef SIMT_TSAN
  Untracked();
  ~Untracked();
#else
  Untracked() {}
#endif
};

using Lanes = std::array<void*, 32>;
enum class Memory { unordered, ordered };  // whether a warp collective also orders its lanes' memory accesses

class Block {
 public:
  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void start(dim3 grid, uint3 block_index, dim3 shape, size_t shared_bytes, const std::function<void()>& kernel);
  // Its threads go on until all have returned, until what they wait for can only come from another block, or, in a
  // random order, at times to let another block go on.
  enum class State { ended, waits, runs };
  State resume();

  void barrier(Site site);  // __syncthreads, by the running thread
  // Named barriers, which __syncthreads is number 0 of.
  void sync(unsigned id, unsigned threads, Site site);
  void arrive(unsigned id, unsigned threads, Site site);
  // A collective of the running thread's warp, called by all lanes of `mask` from one site. The last lane to arrive
  // calls compute with what each brought (null for a lane outside the mask).
  void collective(unsigned mask, Site site, void* brought, const std::function<void(const Lanes&)>& compute,
                  Memory memory = Memory::unordered);

  void wait(Site site);  // the running thread stops until it is woken
  void wake(Thread& thread) { ready_[thread.warp()] |= 1u << thread.lane(); }
  void spin(Site site);  // the running thread stops until other blocks have had their turn

  char* dynamic_shared() { return dynamic_.memory.get(); }
  size_t dynamic_bytes() const { return dynamic_.bytes; }
  AsyncProxy& async();
  void* static_shared(const void* key, size_t bytes, size_t alignment);  // one object for each key
  unsigned threads() const { return count_; }
  Thread& thread(unsigned rank) { return pool_[rank]; }
  uint64_t draw();             // of Order::random
  std::string report() const;  // what the threads wait for

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete (p, std::align_val_t{1024}); }
  };
  struct Shared {  // exactly as large as requested, so that AddressSanitizer detects its end; else a guard lies behind
                   // it
    Shared(const void* of_key, size_t of_bytes);
    bool intact() const;
    const void* key;
    size_t bytes;
    std::unique_ptr<char, Free> memory;
  };
  struct Barrier {
    unsigned arrived = 0, expected = 0, phase = 0;
    Site site{};
    std::array<unsigned, 32> lanes{};  // that have arrived, by warp
    std::vector<Thread*> waiting;
  };
  struct Collective {
    unsigned mask = 0, arrived = 0, phase = 0;
    Site site{};
    Lanes brought{};
  };

  static void enter();
  void allocate_stacks();
  void start_threads(dim3 shape);
  void check_end();
  void check_returned(Thread& thread);
  void reschedule();
  Fiber& choose();
  Thread* pick();
  bool land();
  void count_in(Barrier& barrier, unsigned threads, Site site);
  void complete(Barrier& barrier);

  Fiber main_;
  std::deque<Thread> pool_;
  char* stacks_ = nullptr;
  size_t stack_stride_ = 0, stacks_held_ = 0;
  unsigned count_ = 0, done_ = 0, current_warp_ = 0;
  std::array<unsigned, 32> ready_{};  // by warp, a bit a lane
  std::vector<Thread*> spinning_;
  std::array<Barrier, 16> barriers_;
  std::array<std::array<Collective, 32>, 32> collectives_;  // by warp and lowest lane
  Shared dynamic_{nullptr, 0};
  std::deque<Shared> statics_;
  std::unique_ptr<AsyncProxy> async_;  // of blocks that use it
  bool async_used_ = false;
  dim3 grid_, shape_;
  uint3 index_{};
  uint64_t random_ = 0;
  const std::function<void()>* kernel_ = nullptr;
  std::exception_ptr error_;
};

// A collective to which each lane brings an Arg.
template <typename Arg, typename Compute>
void collective(unsigned mask, Site site, Arg& arg, Compute&& compute) {
  self->block->collective(mask, site, &arg, [&](const Lanes& lanes) {
    std::array<Arg*, 32> args;
    for (int lane = 0; lane < 32; ++lane) args[lane] = static_cast<Arg*>(lanes[lane]);
    compute(args);
  });
}

}  // namespace simt
