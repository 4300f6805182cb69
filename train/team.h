// The ranks that train one run together, seen from one of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"
#include "train/options.h"

namespace glint {

class Team {
 public:
  // Meets the others, in a folder of `root` unless options.rendezvous says where; alone where `place` says so.
  Team(const Ranks& place, const std::filesystem::path& root, const TrainOptions& options);

  Communicator& comm() { return *comm_; }
  int size() const { return comm_->size(); }
  int rank() const { return comm_->rank(); }
  int local_rank() const { return local_rank_; }     // on this machine
  int gpu() const;                                   // which one it takes of those that it sees
  bool leads() const { return comm_->rank() == 0; }  // prints and writes

  // What must be the same on all ranks: (name, value). A UserError on every rank names the rank and the field that
  // differs from rank 0's.
  using Fields = std::vector<std::pair<std::string, std::string>>;
  void require_same(const Fields& fields);
  // Runs `work` on the ranks whose `own` it is; returns when all are through, however long that takes: those that wait
  // are shown that the others live. For what may take longer than --comm-timeout, such as a large text, or a checkpoint
  // on a slow disk.
  void run_collectively(bool own, const std::function<void()>& work);
  // The largest of all ranks' values.
  int largest(int value);
  // The text of the lowest rank that has one; "" if none has.
  std::string first_text(const std::string& own);
  // That rank's text, or plain data, on all ranks.
  std::string text_of(int rank, const std::string& own);
  template <typename Value>
  void share(Value& value, int rank = 0) {
    comm_->broadcast(std::as_writable_bytes(std::span(&value, 1)), rank);
  }

 private:
  const int local_rank_;
  const bool by_slurm_;
  std::unique_ptr<Communicator> comm_;
};

// Meets the team and runs `body` in it. Where that throws the others are told why; one rank's error speaks for all: the
// leading one's, or where that is the one that died the next one's. The others end with ExitCode.
void run_as_rank(const Ranks& place, const std::filesystem::path& root, const TrainOptions& options,
                 const std::function<void(Team&)>& body);

}  // namespace glint
