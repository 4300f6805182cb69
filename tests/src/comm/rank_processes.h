// Ranks as processes: this test program started again, with its rank and its task in the environment.
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/train/run_program.h"

namespace glint::test {

// A port that is free now, with the next one, for MASTER_PORT.
inline int free_port() {
  static int next = 20000 + 10 * (getpid() % 1000);
  for (;; next += 2) {
    const int trial = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in own = {};
    own.sin_family = AF_INET;
    own.sin_port = htons(static_cast<uint16_t>(next + 1));
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = bind(trial, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0;
    close(trial);
    if (free) return next;
  }
}

// The processes that `parent` has started, in order.
inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (std::atoi(entry.path().filename().c_str()) == 0) continue;  // not a process
    const std::string stat = read_file(entry.path().string() + "/stat");
    const size_t end = stat.rfind(')');
    if (end != std::string::npos && std::atoi(stat.c_str() + end + 4) == parent)
      children.push_back(std::atoi(stat.c_str()));
  }
  std::sort(children.begin(), children.end());
  return children;
}

// A rank runs a test case that is skipped otherwise: "comm: one rank" of gloo_test.cpp, unless another is named.
class RankProcesses {
 public:
  // task: see gloo_test.cpp. started: how many of `size` to start. port: MASTER_PORT on this machine; 0: none.
  RankProcesses(const std::string& task, int size, int timeout_ms, int started,
                const std::string& test_case = "comm: one rank", int port = 0) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    for (int rank = 0; rank < started; ++rank) {
      std::vector<std::string> words = {"-u",
                                        "SLURM_JOB_ID",
                                        "-u",
                                        "MASTER_ADDR",
                                        "-u",
                                        "MASTER_PORT",
                                        "GLINT_TEST_TASK=" + task,
                                        "GLINT_TEST_FOLDER=" + folder(),
                                        str_cat("GLINT_TEST_TIMEOUT=", timeout_ms),
                                        str_cat("RANK=", rank),
                                        str_cat("WORLD_SIZE=", size),
                                        str_cat("LOCAL_RANK=", rank)};
      if (port) words.insert(words.end(), {"MASTER_ADDR=127.0.0.1", str_cat("MASTER_PORT=", port)});
      words.insert(words.end(), {self, "-tc=" + test_case, "--no-skip", "--no-colors"});
      processes_.push_back(std::make_unique<Running>(words, "/usr/bin/env"));
    }
  }
  ~RankProcesses() = default;
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  void send(int rank, int signal) const { processes_[static_cast<size_t>(rank)]->send(signal); }
  Ran wait(int rank) {
    const Ran ran = processes_[static_cast<size_t>(rank)]->wait();
    processes_[static_cast<size_t>(rank)] = nullptr;
    return ran;
  }
  // What the rank wrote to its file of this name; "" if it did not.
  std::string wrote(int rank, const std::string& name) const { return read_file(file(rank, name)); }
  void wait_until_written(int rank, const std::string& name) const {
    for (int i = 0; i < 2000 && !std::filesystem::exists(file(rank, name)); ++i) usleep(5000);
  }
  std::string folder() const { return folder_ / "."; }

 private:
  std::string file(int rank, const std::string& name) const { return folder_ / str_cat(name, "-", rank); }
  ScratchFolder folder_;
  std::vector<std::unique_ptr<Running>> processes_;
};

}  // namespace glint::test
