#include "train/launcher.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "kernels/check.h"
#include "src/clock.h"
#include "train/exit_code.h"
#include "train/options.h"
#include "train/run_folder.h"
#include "train/signals.h"

namespace glint {

namespace {

constexpr auto kPoll = std::chrono::milliseconds(20);
constexpr auto kGrace = std::chrono::seconds(5);  // from a rank's failure until the others are killed

std::vector<std::string> own_command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (size_t at = 0; at < all.size(); at = all.find('\0', at) + 1) words.emplace_back(all.c_str() + at);
  GLINT_REQUIRE(
      !words.empty(),
      "cannot read /proc/self/cmdline, which --ranks needs: start each rank with a launcher such as torchrun instead");
  return words;
}

// A port of this machine that is free now, and not the first.
int free_port() {
  const Descriptor trial(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in own = {};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof own;
  auto* generic = reinterpret_cast<sockaddr*>(&own);
  const bool found = trial >= 0 && bind(trial, generic, length) == 0 && getsockname(trial, generic, &length) == 0;
  GLINT_REQUIRE(found, "cannot find a free port for the ranks: ", std::strerror(errno));
  return ntohs(own.sin_port);
}

struct Launch {
  std::vector<std::string> words;
  int ranks;
  std::string id;
  int port;  // MASTER_PORT
};

pid_t start(const Launch& launch, int rank) {
  std::vector<char*> argv;
  for (const std::string& word : launch.words)
    argv.push_back(const_cast<char*>(word.c_str()));  // NOLINT: execv changes nothing
  argv.push_back(nullptr);
  const pid_t parent = getpid(), child = fork();
  GLINT_REQUIRE(child >= 0, "cannot start rank ", rank, ": ", std::strerror(errno));
  if (child > 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // ranks end with a launcher that is killed
  if (getppid() != parent) _exit(1);
  setpgid(0, 0);  // Ctrl-C reaches only the launcher, which forwards it once
  setenv("RANK", std::to_string(rank).c_str(), 1);
  setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
  setenv("WORLD_SIZE", std::to_string(launch.ranks).c_str(), 1);
  setenv("LOCAL_WORLD_SIZE", std::to_string(launch.ranks).c_str(), 1);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", std::to_string(launch.port).c_str(), 1);
  setenv("OMP_NUM_THREADS", std::to_string(std::max(1, default_threads() / launch.ranks)).c_str(), 0);
  setenv("TORCHELASTIC_RUN_ID", launch.id.c_str(), 1);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

struct Ended {
  int rank, status;
  bool killed;  // by the launcher
};

// The first rank that failed by itself, not because another one did (unless all of them did).
const Ended* first_failure(const std::vector<Ended>& ended) {
  const auto find = [&](auto fits) {
    const auto found = std::find_if(ended.begin(), ended.end(), fits);
    return found == ended.end() ? nullptr : &*found;
  };
  const Ended* first = find([](const Ended& rank) {
    return !rank.killed && code_of(rank.status) != 0 && code_of(rank.status) != kPeerFailed;
  });
  if (!first) first = find([](const Ended& rank) { return rank.killed; });
  return first ? first : find([](const Ended& rank) { return code_of(rank.status) != 0; });
}

// A rank that ended with an exit code has printed the reason itself.
void report(const Ended& rank) {
  if (rank.killed)
    std::fprintf(stderr, "glint: rank %d hung: it did not end after the others had failed, and was killed\n",
                 rank.rank);
  else if (WIFSIGNALED(rank.status))
    std::fprintf(stderr, "glint: rank %d failed first: %s (signal %d)\n", rank.rank, strsignal(WTERMSIG(rank.status)),
                 WTERMSIG(rank.status));
  else if (rank.rank != 0 && code_of(rank.status) < 128)
    std::fprintf(stderr, "glint: rank %d failed first, with exit code %d\n", rank.rank, code_of(rank.status));
}

// Starts all ranks once. Returns 0, or the code of the one that failed first.
int run_once(const std::vector<std::string>& words, int ranks, SignalWatch& signals) {
  const std::string id = std::to_string(getpid()) + "-" + std::to_string(Clock::now().time_since_epoch().count());
  const Launch launch{words, ranks, id, free_port() - 1};  // NCCL's is MASTER_PORT + 1
  std::map<pid_t, int> running;
  const auto send_all = [&](int signal) {
    for (const auto& [process, rank] : running) kill(process, signal);
  };
  for (int rank = 0; rank < ranks; ++rank) running.emplace(start(launch, rank), rank);

  std::vector<Ended> ended;
  bool forwarded = false, killed = false;
  auto end_by = Clock::time_point::max();
  while (!running.empty()) {
    int status = 0;
    const pid_t process = waitpid(-1, &status, WNOHANG);
    if (const auto found = running.find(process); process > 0 && found != running.end()) {
      ended.push_back({found->second, status, killed});
      running.erase(found);
      if (code_of(status) != 0) end_by = std::min(end_by, Clock::now() + kGrace);
      continue;
    }
    if (signals.take_save_request()) send_all(SIGUSR1);
    if (signals.received() && !forwarded) send_all(signals.received()), forwarded = true;
    if (Clock::now() > end_by) send_all(SIGKILL), killed = true;
    std::this_thread::sleep_for(kPoll);
  }
  const Ended* first = first_failure(ended);
  if (!first) return 0;
  report(*first);
  return code_of(first->status);
}

}  // namespace

void launch_ranks(int ranks, const Restarts& restarts) {
  std::vector<std::string> words = own_command_line();
  SignalWatch signals;
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
