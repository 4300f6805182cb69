// SIGINT, SIGTERM and SIGHUP (a lost connection) end a run cleanly: they are recorded, and the training loop checks
// after each step. A second one ends the program at once, as by default. SIGUSR1 (Slurm's warning) asks for a
// checkpoint.
//
// A handler must not run on the threads that compute: some of oneDNN's kernels (before 3.11.2, and those of Debian)
// keep a heap address in the stack pointer, so that a signal's stack frame overwrites the heap. See
// https://github.com/uxlfoundation/oneDNN/issues/4845.
#pragma once

#include <semaphore.h>

#include <array>
#include <csignal>
#include <thread>

namespace glint {

// During its lifetime a dedicated thread receives these signals, and no other thread does. Create it before all other
// threads.
class SignalThread {
 public:
  SignalThread();
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  sem_t done_;
  sigset_t before_;
  std::thread thread_;
};

class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();  // restores the previous handlers
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int received() const;      // 0, or the signal that ends the run
  bool take_save_request();  // whether SIGUSR1 came since the last call

 private:
  std::array<struct sigaction, 4> former_;
};

// During its lifetime SIGINT ends nothing, however often it comes, and is recorded.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch() { sigaction(SIGINT, &former_, nullptr); }
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  bool take();  // whether one came since the last call

 private:
  struct sigaction former_;
};

}  // namespace glint
