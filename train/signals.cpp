#include "train/signals.h"

namespace glint {

namespace {

volatile std::sig_atomic_t received_signal = 0;  // a handler can reach nothing but a global

extern "C" void remember_signal(int number) {
  received_signal = number;
  std::signal(SIGINT, SIG_DFL);  // the next one ends the program
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

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
