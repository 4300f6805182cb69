#include "train/team.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <future>
#include <optional>
#include <span>

#include <nlohmann/json.hpp>

#include "src/device.h"

namespace glint {

namespace fs = std::filesystem;

namespace {

// With --gpus-per-task, Slurm shows each task only its own GPU.
int gpu_of(const Ranks& place) {
  std::string fault;
  return place.source == "Slurm" && gpus_here(fault).size() == 1 ? 0 : place.local_rank;
}

std::unique_ptr<Communicator> connect(const Ranks& place, const fs::path& root, const TrainOptions& options) {
  if (place.size == 1) return make_single_communicator();
  const auto timeout = std::chrono::milliseconds(static_cast<int64_t>(1000 * options.comm_timeout));
  if (options.device == DeviceChoice::cuda) {
    if (!options.interface.empty()) setenv("NCCL_SOCKET_IFNAME", options.interface.c_str(), 0);
    if constexpr (Device::kHasCuda) return make_nccl_communicator(place, gpu_of(place), timeout);
  }
  std::error_code error;
  fs::create_directories(root, error);
  GLINT_REQUIRE(!error, "cannot create the run folder ", root.string(), ": ", error.message(),
                "; choose another --out");
  return make_gloo_communicator(place, {root.string(), place.launch, options.interface, timeout});
}

}  // namespace

Team::Team(const Ranks& place, const fs::path& root, const TrainOptions& options)
    : local_rank_(place.local_rank), gpu_(gpu_of(place)), comm_(connect(place, root, options)) {}

std::string Team::text_of(int rank, const std::string& own) {
  uint64_t length = own.size();
  share(length, rank);
  std::string all = own;
  all.resize(length);
  comm_->broadcast(std::as_writable_bytes(std::span(all)), rank);
  return all;
}

void Team::require_same(const Fields& fields) {
  const auto expected = nlohmann::json::parse(text_of(0, nlohmann::json(fields).dump())).get<Fields>();
  std::string fault;
  for (size_t i = 0; i < fields.size() && fault.empty(); ++i) {
    const auto& [name, value] = fields[i];
    const bool known = i < expected.size() && expected[i].first == name;
    if (!known || expected[i].second != value)
      fault = str_cat("rank ", rank(), " differs from rank 0 in ", name, ": ", value, ", not ",
                      known ? expected[i].second : "any");
  }
  fault = first_text(fault);
  GLINT_REQUIRE(fault.empty(), fault, "; start all ranks with the same program, flags and data");
}

void Team::run_collectively(bool own, const std::function<void()>& work) {
  if (size() == 1) {
    if (own) work();
    return;
  }
  constexpr auto kPoll = std::chrono::milliseconds(100);
  std::future<void> running;
  if (own) running = std::async(std::launch::async, work);
  do {
    if (running.valid() && running.wait_for(kPoll) == std::future_status::ready) running.get();
  } while (largest(running.valid()) != 0);
}

int Team::largest(int value) {
  std::vector<double> all(static_cast<size_t>(size()));
  all[static_cast<size_t>(rank())] = value;
  comm_->all_reduce(std::span(all));
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

std::string Team::first_text(const std::string& own) {
  const int root = size() - largest(own.empty() ? 0 : size() - rank());
  if (root == size()) return "";
  const std::string found = text_of(root, own);
  try {
    comm_->barrier();           // all ranks have the text
  } catch (const PeerError&) {  // a rank that has the text has ended
  }
  return found;
}

void run_as_rank(const Ranks& place, const fs::path& root, const TrainOptions& options,
                 const std::function<void(Team&)>& body) {
  std::optional<Team> team;
  try {
    team.emplace(place, root, options);
    body(*team);
  } catch (const PeerError& error) {
    throw PeerError(error.rank, str_cat("rank ", place.rank, ": ", error.what()), error.reported);
  } catch (const std::exception& error) {
    if (team) team->comm().abort(error.what());
    if (place.rank == 0) throw;
    throw UserError(str_cat("rank ", place.rank, ": ", error.what()));
  }
}

}  // namespace glint
