// SIGINT and SIGTERM end a run cleanly: they are recorded, and the training loop checks after each step. A second
// signal ends the program at once, as by default.
//
// A handler must not run on the threads that compute: some of oneDNN's kernels (before 3.11.2, and those of Debian)
// keep a heap address in the stack pointer, so that a signal's stack frame overwrites the heap. See
// https://github.com/uxlfoundation/oneDNN/issues/4845.
#pragma once

#include <semaphore.h>

#include <csignal>
#include <thread>

namespace glint {

// During its lifetime a dedicated thread receives SIGINT and SIGTERM, and no other thread does. Create it before all
// other threads.
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

  int received() const;  // 0, SIGINT or SIGTERM

 private:
  struct sigaction former_int_, former_term_;
};

}  // namespace glint
