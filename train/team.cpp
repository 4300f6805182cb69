#include "train/team.h"

#include <algorithm>
#include <chrono>
#include <span>

namespace glint {

namespace fs = std::filesystem;

Team::Team(const Ranks& place, const fs::path& root, double timeout_seconds) {
  if (place.size == 1) {
    comm_ = make_single_communicator();
    return;
  }
  std::error_code error;
  fs::create_directories(root, error);
  GLINT_REQUIRE(!error, "cannot make the run folder ", root.string(), ": ", error.message(), "; choose another --out");
  GlooOptions options;
  options.folder = root.string();
  options.launch = place.launch;
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(1000 * timeout_seconds));
  comm_ = make_gloo_communicator(place, options);
}

std::string Team::text_of(int rank, const std::string& own) {
  uint64_t length = own.size();
  comm_->broadcast(std::as_writable_bytes(std::span(&length, 1)), rank);
  std::string all = own;
  all.resize(length);
  comm_->broadcast(std::as_writable_bytes(std::span(all)), rank);
  return all;
}

void Team::require_same(const Fields& fields) {
  std::string fault;
  for (const auto& [name, value] : fields) {
    const std::string leading = text_of(0, value);
    if (fault.empty() && value != leading) fault = text("rank ", rank(), " has another ", name, " than rank 0: ", value, ", not ", leading);
  }
  fault = first_text(fault);
  GLINT_REQUIRE(fault.empty(), fault);
}

int Team::largest(int value) {
  std::vector<double> all(static_cast<size_t>(size()));
  all[static_cast<size_t>(rank())] = value;
  comm_->all_reduce(std::span(all));
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

std::string Team::first_text(const std::string& own) {
  const int speaks = size() - largest(own.empty() ? 0 : size() - rank());
  return speaks == size() ? "" : text_of(speaks, own);
}

}  // namespace glint
