// SIGINT and SIGTERM ask for an orderly end: they are remembered, and the loop asks after each step. A second one ends
// the program at once, as if nothing had been installed.
//
// A handler must not run on the threads that compute: some of oneDNN's kernels (before 3.11.2, and those of Debian)
// keep an address of the heap in the stack pointer, and what a signal puts "on the stack" then overwrites the heap. See
// https://github.com/uxlfoundation/oneDNN/issues/4845.
#pragma once

#include <semaphore.h>

#include <csignal>
#include <thread>

namespace glint {

// While it lives, SIGINT and SIGTERM to this process reach a thread that does nothing else, and neither the thread that
// made it nor those that are started meanwhile: it comes before all other threads.
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
  ~SignalWatch();  // puts back what was installed before
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int received() const;  // 0, SIGINT or SIGTERM

 private:
  struct sigaction former_int_, former_term_;
};

}  // namespace glint
