#include "train/launcher.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "kernels/check.h"
#include "train/exit_code.h"
#include "train/options.h"
#include "train/run_folder.h"
#include "train/signals.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds(20);
constexpr auto kGrace = std::chrono::seconds(5);  // from a rank's failure until the others are killed

std::vector<std::string> own_command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (size_t at = 0; at < all.size(); at = all.find('\0', at) + 1) words.emplace_back(all.c_str() + at);
  GLINT_REQUIRE(!words.empty(),
                "cannot read /proc/self/cmdline, which --ranks needs: start each rank by a launcher instead");
  return words;
}

pid_t start(const std::vector<std::string>& words, int rank, int ranks, const std::string& launch) {
  std::vector<char*> argv;
  for (const std::string& word : words)
    argv.push_back(const_cast<char*>(word.c_str()));  // NOLINT: execv changes nothing
  argv.push_back(nullptr);
  const pid_t parent = getpid(), child = fork();
  GLINT_REQUIRE(child >= 0, "cannot start rank ", rank, ": ", std::strerror(errno));
  if (child > 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // a launcher that is killed leaves nobody behind
  if (getppid() != parent) _exit(1);
  setpgid(0, 0);  // Ctrl-C reaches the launcher, which passes it on once
  setenv("RANK", std::to_string(rank).c_str(), 1);
  setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
  setenv("WORLD_SIZE", std::to_string(ranks).c_str(), 1);
  setenv("OMP_NUM_THREADS", std::to_string(std::max(1, default_threads() / ranks)).c_str(), 0);
  setenv("TORCHELASTIC_RUN_ID", launch.c_str(), 1);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Starts all ranks once. Returns 0, or the code of the one that failed first.
int run_once(const std::vector<std::string>& words, int ranks, const SignalWatch& signals) {
  const std::string launch = std::to_string(getpid()) + "-" + std::to_string(Clock::now().time_since_epoch().count());
  std::vector<pid_t> running;
  const auto tell_all = [&](int signal) {
    for (const pid_t rank : running) kill(rank, signal);
  };
  for (int rank = 0; rank < ranks; ++rank) running.push_back(start(words, rank, ranks, launch));

  int failure = 0;
  bool passed_on = false;
  auto end_by = Clock::time_point::max();
  while (!running.empty()) {
    int status = 0;
    const pid_t gone = waitpid(-1, &status, WNOHANG);
    if (gone > 0) {
      std::erase(running, gone);
      if (code_of(status) != 0 && failure == 0) failure = code_of(status), end_by = Clock::now() + kGrace;
      continue;
    }
    if (signals.received() && !passed_on) tell_all(signals.received()), passed_on = true;
    if (Clock::now() > end_by) tell_all(SIGKILL);
    std::this_thread::sleep_for(kLook);
  }
  return failure;
}

}  // namespace

void launch_ranks(int ranks, const Restarts& restarts) {
  std::vector<std::string> words = own_command_line();
  const SignalWatch signals;
  for (int tries = 0;; ++tries) {
    const int code = run_once(words, ranks, signals);
    if (code == 0) return;
    std::error_code unreadable;
    const bool resumable = std::filesystem::exists(RunPaths{restarts.run}.config(), unreadable);
    if (tries == restarts.most || signals.received() || !resumable) throw ExitCode{code};
    std::fprintf(stderr, "glint: starting all ranks again from the last checkpoint, %d of %d times\n", tries + 1,
                 restarts.most);
    if (std::find(words.begin(), words.end(), "--resume") == words.end())
      words = {words.front(), "train", "--resume", restarts.run.string()};
  }
}

}  // namespace glint
