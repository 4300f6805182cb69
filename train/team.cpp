#include "train/team.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <span>

#include <nlohmann/json.hpp>

#include "src/device.h"
#include "train/exit_code.h"

namespace glint {

namespace fs = std::filesystem;

Team::Team(const Ranks& place, const fs::path& root, const TrainOptions& options)
    : local_rank_(place.local_rank), by_slurm_(place.source == "Slurm") {
  if (place.size == 1) {
    comm_ = make_single_communicator();
    return;
  }
  std::error_code error;
  fs::create_directories(root, error);
  GLINT_REQUIRE(!error, "cannot make the run folder ", root.string(), ": ", error.message(), "; choose another --out");
  GlooOptions gloo;
  gloo.folder = root.string();
  gloo.launch = place.launch;
  gloo.rendezvous = options.rendezvous;
  gloo.interface = options.interface;
  gloo.timeout = std::chrono::milliseconds(static_cast<int64_t>(1000 * options.comm_timeout));
  comm_ = make_gloo_communicator(place, gloo);
}

// Slurm shows each task its own GPU alone where it is asked to (--gpus-per-task).
int Team::gpu() const {
  std::string fault;
  return by_slurm_ && gpus_here(fault).size() == 1 ? 0 : local_rank_;
}

std::string Team::text_of(int rank, const std::string& own) {
  uint64_t length = own.size();
  share(length, rank);
  std::string all = own;
  all.resize(length);
  comm_->broadcast(std::as_writable_bytes(std::span(all)), rank);
  return all;
}

void Team::require_same(const Fields& fields) {
  const auto leading = nlohmann::json::parse(text_of(0, nlohmann::json(fields).dump())).get<Fields>();
  std::string fault;
  for (size_t i = 0; i < fields.size() && fault.empty(); ++i) {
    const auto& [name, value] = fields[i];
    const bool known = i < leading.size() && leading[i].first == name;
    if (!known || leading[i].second != value)
      fault = str_cat("rank ", rank(), " has another ", name, " than rank 0: ", value, ", not ",
                      known ? leading[i].second : "any");
  }
  fault = first_text(fault);
  GLINT_REQUIRE(fault.empty(), fault, "; start all ranks with the same program, flags and data");
}

void Team::run_collectively(bool own, const std::function<void()>& work) {
  if (size() == 1) {
    if (own) work();
    return;
  }
  constexpr auto kSignOfLife = std::chrono::milliseconds(100);
  std::future<void> under_way;
  if (own) under_way = std::async(std::launch::async, work);
  do {
    if (under_way.valid() && under_way.wait_for(kSignOfLife) == std::future_status::ready) under_way.get();
  } while (largest(under_way.valid()) != 0);
}

int Team::largest(int value) {
  std::vector<double> all(static_cast<size_t>(size()));
  all[static_cast<size_t>(rank())] = value;
  comm_->all_reduce(std::span(all));
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

std::string Team::first_text(const std::string& own) {
  const int speaks = size() - largest(own.empty() ? 0 : size() - rank());
  if (speaks == size()) return "";
  const std::string found = text_of(speaks, own);
  try {
    comm_->barrier();           // none goes on, and maybe ends, before all have it
  } catch (const PeerError&) {  // one that has it did
  }
  return found;
}

void run_as_rank(const Ranks& place, const fs::path& root, const TrainOptions& options,
                 const std::function<void(Team&)>& body) {
  Team team(place, root, options);
  try {
    body(team);
  } catch (const PeerError& error) {
    const bool leader_died = error.rank == 0 && std::string(error.what()).find("gave up") == std::string::npos;
    if (team.leads() || (leader_died && team.rank() == 1)) throw;
    throw ExitCode{1};
  } catch (const std::exception& error) {
    team.comm().abort(error.what());
    if (team.leads()) throw;
    throw ExitCode{1};
  }
}

}  // namespace glint
