// Ranks as processes of their own: this test program started again, each told by its environment who it is and what to
// do.
#pragma once

#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/train/run_program.h"

namespace glint::test {

// What a rank does is a test case that other runs leave out: "comm: one rank" of gloo_test.cpp, unless another is
// named.
class RankProcesses {
 public:
  // task: see gloo_test.cpp. started: how many of `size` are there. rendezvous: GlooOptions'. before: by rank, a
  // command that runs another, such as "/bin/ip netns exec NAME".
  RankProcesses(const std::string& task, int size, int timeout_ms, int started,
                const std::string& test_case = "comm: one rank", const std::string& rendezvous = "",
                const std::vector<std::vector<std::string>>& before = {}) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    for (int rank = 0; rank < started; ++rank) {
      std::vector<std::string> words = {"-u",
                                        "SLURM_JOB_ID",
                                        "-u",
                                        "MASTER_ADDR",
                                        "-u",
                                        "MASTER_PORT",  //
                                        "GLINT_TEST_TASK=" + task,
                                        "GLINT_TEST_FOLDER=" + folder(),
                                        str_cat("GLINT_TEST_TIMEOUT=", timeout_ms),
                                        "GLINT_TEST_RENDEZVOUS=" + rendezvous,
                                        str_cat("RANK=", rank),
                                        str_cat("WORLD_SIZE=", size),
                                        str_cat("LOCAL_RANK=", rank)};
      if (!before.empty())
        for (const std::string& word : before[static_cast<size_t>(rank)]) words.push_back(word);
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
