// SIGINT and SIGTERM ask for an orderly end: they are remembered, and the loop asks after each step. A second one ends
// the program at once, as if nothing had been installed.
#pragma once

#include <csignal>

namespace glint {

class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();  // puts back what was installed before
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int received() const;                               // 0, SIGINT or SIGTERM
  int exit_code() const { return 128 + received(); }  // 130 or 143

 private:
  struct sigaction former_int_, former_term_;
};

}  // namespace glint
