// The ranks that train one run.
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
  // Connects to the other ranks: over NCCL for --device cuda, otherwise over Gloo by a folder in `root`.
  Team(const Ranks& place, const std::filesystem::path& root, const TrainOptions& options);

  Communicator& comm() { return *comm_; }
  int size() const { return comm_->size(); }
  int rank() const { return comm_->rank(); }
  int local_rank() const { return local_rank_; }       // on this machine
  int gpu() const { return gpu_; }                     // index of its GPU
  bool is_main() const { return comm_->rank() == 0; }  // rank 0 prints and writes

  // (name, value) that must be the same on all ranks; a UserError on every rank names the rank and the field that
  // differ from rank 0's.
  using Fields = std::vector<std::pair<std::string, std::string>>;
  void require_same(const Fields& fields);
  // Runs `work` on the ranks with `own` set; returns when all are done. May take longer than --comm-timeout: the ranks
  // exchange heartbeats.
  void run_collectively(bool own, const std::function<void()>& work);
  // The largest value of all ranks.
  int largest(int value);
  // The text of the lowest rank that has one; "" if none has.
  std::string first_text(const std::string& own);
  // Broadcasts the text, or plain data, of one rank.
  std::string text_of(int rank, const std::string& own);
  template <typename Value>
  void share(Value& value, int rank = 0) {
    static_assert(std::is_trivially_copyable_v<Value>);
    comm_->broadcast(std::as_writable_bytes(std::span(&value, 1)), rank);
  }

 private:
  const int local_rank_, gpu_;
  std::unique_ptr<Communicator> comm_;
};

// Connects the team and runs `body` in it. Errors name this rank (but for rank 0's own); where another rank failed, the
// error is a PeerError.
void run_as_rank(const Ranks& place, const std::filesystem::path& root, const TrainOptions& options,
                 const std::function<void(Team&)>& body);

}  // namespace glint
