// Gloo writes to its sockets with writev(), which at a closed connection ends the process by SIGPIPE before there is an
// error to report. Ignoring it in the whole process would take it from `glint ... | head`: it is kept from the threads
// that write.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <ctime>

namespace glint {

// While it lives, and in threads that are started meanwhile, SIGPIPE is blocked; one that came is taken away at the
// end.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigpipe() {
    const timespec at_once = {};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t pipe_, before_;
  bool was_pending_;
};

}  // namespace glint
