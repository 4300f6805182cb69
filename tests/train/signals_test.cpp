#include "train/signals.h"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace glint {
namespace {

// Another thread records the signal, a moment later.
int received_soon(const SignalWatch& watch) {
  for (int i = 0; i < 5000 && !watch.received(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return watch.received();
}

TEST_CASE("signals: the first one is recorded, on any thread") {
  const SignalThread apart;
  const SignalWatch watch;
  CHECK(watch.received() == 0);
  kill(getpid(), SIGTERM);
  CHECK(received_soon(watch) == SIGTERM);
}

#ifdef __x86_64__
// Like oneDNN's kernels: signals this process while the stack pointer is `top`.
long signal_with_stack_at(char* top, int signal) {
  long result = SYS_kill;
  asm volatile(
      "mov %%rsp, %%r12\n\t"
      "mov %[top], %%rsp\n\t"
      "syscall\n\t"
      "mov %%r12, %%rsp"
      : "+a"(result)
      : [top] "r"(top), "D"(static_cast<long>(getpid())), "S"(static_cast<long>(signal))
      : "r12", "rcx", "r11", "memory");
  return result;
}

TEST_CASE("signals: no write below a stack pointer that a library has set elsewhere") {
  std::vector<char> memory(size_t{1} << 17, 'x');
  const SignalThread apart;
  const SignalWatch watch;
  REQUIRE(signal_with_stack_at(memory.data() + memory.size() - 64, SIGINT) == 0);
  CHECK(received_soon(watch) == SIGINT);
  CHECK(std::all_of(memory.begin(), memory.end(), [](char byte) { return byte == 'x'; }));
}
#endif

}  // namespace
}  // namespace glint
