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

class Block;

struct Thread {
  Fiber fiber;
  Block* block = nullptr;
  unsigned rank = 0;
  uint3 index{};
  Site site{};
  std::deque<Copy> copies;
  unsigned copy_groups = 0;  // committed so far

  unsigned lane() const { return rank % 32; }
  unsigned warp() const { return rank / 32; }
};
inline thread_local Thread* self = nullptr;  // the CUDA thread that runs on this OS thread

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
  void run(dim3 grid, uint3 block_index, dim3 shape, size_t shared_bytes, const std::function<void()>& kernel);

  void barrier(Site site);  // __syncthreads, by the running thread
  // A collective of the running thread's warp, called by all lanes of `mask` from one site. The last lane to arrive
  // calls compute with what each brought (null for a lane outside the mask).
  void collective(unsigned mask, Site site, void* brought, const std::function<void(const Lanes&)>& compute,
                  Memory memory = Memory::unordered);

  char* dynamic_shared() { return dynamic_.memory.get(); }
  void* static_shared(const void* key, size_t bytes, size_t alignment);  // one object for each key
  unsigned threads() const { return count_; }

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
    unsigned arrived = 0, phase = 0;
    Site site{};
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
  void check_end(uint3 block_index);
  void wait(Site site);  // the running thread stops until it is woken
  void wake(Thread& thread) { ready_[thread.warp()] |= 1u << thread.lane(); }
  void reschedule();
  Fiber& choose();
  Thread* pick();
  std::string report() const;
  uint64_t draw();

  Fiber main_;
  std::deque<Thread> pool_;
  char* stacks_ = nullptr;
  size_t stack_stride_ = 0, stacks_held_ = 0;
  unsigned count_ = 0, done_ = 0, current_warp_ = 0;
  std::array<unsigned, 32> ready_{};  // by warp, a bit a lane
  Barrier barrier_;
  std::array<std::array<Collective, 32>, 32> collectives_;  // by warp and lowest lane
  Shared dynamic_{nullptr, 0};
  std::deque<Shared> statics_;
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
