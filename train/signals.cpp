#include "train/signals.h"

#include <atomic>

namespace glint {

namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

std::atomic<int> received_signal = 0;  // a signal handler can only use globals
std::atomic<bool> save_requested = false;
static_assert(std::atomic<int>::is_always_lock_free);

sigset_t all_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : kSignals) sigaddset(&signals, number);
  return signals;
}

extern "C" void remember_signal(int number) {
  if (number == SIGUSR1) {
    save_requested = true;
    return;
  }
  received_signal = number;
  for (const int ends : {SIGINT, SIGTERM, SIGHUP}) std::signal(ends, SIG_DFL);  // the next signal ends the program
}

}  // namespace

SignalThread::SignalThread() {
  sem_init(&done_, 0, 0);
  thread_ = std::thread([this] {
    const sigset_t signals = all_signals();
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // even if the parent process had blocked them
    while (sem_wait(&done_) != 0) continue;           // a signal came
  });
  const sigset_t signals = all_signals();
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
  save_requested = false;
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &former_[i]);
    const bool ignored = former_[i].sa_handler == SIG_IGN;  // by nohup
    if (!(kSignals[i] == SIGHUP && ignored)) sigaction(kSignals[i], &action, nullptr);
  }
}

SignalWatch::~SignalWatch() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &former_[i], nullptr);
}

int SignalWatch::received() const { return received_signal; }

bool SignalWatch::take_save_request() { return save_requested.exchange(false); }

InterruptWatch::InterruptWatch() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = [](int number) { received_signal = number; };
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &former_);
}

bool InterruptWatch::take() { return received_signal.exchange(0) != 0; }

}  // namespace glint
