// Fibers: stacks that one OS thread switches between. AddressSanitizer and ThreadSanitizer are told about every switch.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef __has_feature  // GCC
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define SIMT_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__) && !defined(SIMT_UCONTEXT)
#define SIMT_UCONTEXT 1  // several times slower: every switch is a system call
#endif
#ifdef SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace simt {

#ifdef SIMT_TSAN  // code around a switch, which ThreadSanitizer would attribute to the wrong fiber
#define SIMT_BORDER __attribute__((no_sanitize("thread"), noinline))
#else
#define SIMT_BORDER
#endif

#ifndef SIMT_UCONTEXT
// Saves what the System V ABI says a call preserves, and the stack pointer; loads another's.
extern "C" void simt_switch(void** save_stack_pointer, void* load_stack_pointer);
#endif

class Fiber {  // default-constructed: the OS thread's own stack
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
#ifdef SIMT_TSAN
    if (bottom_ && tsan_ && finished_) __tsan_destroy_fiber(tsan_);  // ThreadSanitizer refuses to end an abandoned one
#endif
  }

  // The next switch to this fiber calls entry(), which must never return and must call entered() first.
  void prepare(void* stack, size_t bytes, void (*entry)()) {
    bottom_ = stack;
    bytes_ = bytes;
#ifdef SIMT_ASAN
    __asan_unpoison_memory_region(stack, bytes);  // an abandoned fiber may have poisoned it
#endif
#ifdef SIMT_TSAN
    if (!tsan_ || !finished_) tsan_ = __tsan_create_fiber(0);
    finished_ = false;
#endif
#ifdef SIMT_UCONTEXT
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#else
    // What simt_switch() pops: six registers and the address to return to; above them, no caller.
    void** frame = reinterpret_cast<void**>(static_cast<char*>(stack) + bytes) - 8;
    for (int i = 0; i < 8; ++i) frame[i] = nullptr;
    frame[6] = reinterpret_cast<void*>(entry);
    stack_pointer_ = frame;
#endif
  }

  // Switches from the running fiber to `to`; returns when something switches back, which a finished fiber forbids.
  SIMT_BORDER static void switch_to(Fiber& from, Fiber& to, [[maybe_unused]] bool finished = false) {
#ifdef SIMT_ASAN
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(finished ? nullptr : &fake_stack, to.bottom_, to.bytes_);
#endif
#ifdef SIMT_TSAN
    if (!from.tsan_) from.tsan_ = __tsan_get_current_fiber();
    from.finished_ = finished;
    __tsan_switch_to_fiber(to.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef SIMT_UCONTEXT
    swapcontext(&from.context_, &to.context_);
#else
    simt_switch(&from.stack_pointer_, to.stack_pointer_);
#endif
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  // First statement of an entry function; `main` is the fiber of the OS thread's own stack, which starts the first one.
  SIMT_BORDER static void entered([[maybe_unused]] Fiber& main) {
#ifdef SIMT_ASAN
    const void* bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (!main.bottom_) {
      main.bottom_ = bottom;
      main.bytes_ = bytes;
    }
#endif
  }

 private:
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
#ifdef SIMT_TSAN
  void* tsan_ = nullptr;
  bool finished_ = false;
#endif
#ifdef SIMT_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
};

}  // namespace simt
