#include "train/signals.h"

#include <atomic>

namespace glint {

namespace {

std::atomic<int> received_signal = 0;  // a signal handler can only use globals
static_assert(std::atomic<int>::is_always_lock_free);

sigset_t both() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

extern "C" void remember_signal(int number) {
  received_signal = number;
  std::signal(SIGINT, SIG_DFL);  // the next signal ends the program
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

SignalThread::SignalThread() {
  sem_init(&done_, 0, 0);
  thread_ = std::thread([this] {
    const sigset_t signals = both();
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // even if the parent process had blocked them
    while (sem_wait(&done_) != 0) continue;           // a signal came
  });
  const sigset_t signals = both();
  pthread_sigmask(SIG_BLOCK, &signals, &before_);
}

SignalThread::~SignalThread() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  sem_post(&done_);
  thread_.join();
  sem_destroy(&done_);
}

SignalWatch::SignalWatch() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &former_int_);
  sigaction(SIGTERM, &action, &former_term_);
}

SignalWatch::~SignalWatch() {
  sigaction(SIGINT, &former_int_, nullptr);
  sigaction(SIGTERM, &former_term_, nullptr);
}

int SignalWatch::received() const { return received_signal; }

}  // namespace glint
