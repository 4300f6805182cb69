#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"
#include "data/prepare.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr int kConfigVersion = 1;
constexpr const char* kVersionKey = "version";

bool is_leftover(const RunPaths& run, const fs::path& path) {
  const auto is_of = [&](const fs::path& file) {  // or the file while it was written
    return path == file || path.string().starts_with(file.string() + ".partial");
  };
  if (path == run.data()) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
      const std::string name = entry.path().filename().string();
      const auto is_one = [&](const char* file) { return name == file || name.starts_with(str_cat(file, ".")); };
      if (!is_one(kTokensFile) && !is_one(kTokenizerFile) && !is_one(kUnknownFile)) return false;
    }
    return !error;
  }
  return is_of(run.tokenizer()) || is_of(run.data_record()) ||
         path.string().starts_with(run.config().string() + ".partial");
}

// What an interrupted start has left in a folder. UserError if there is anything else, but for the lock and the
// rendezvous of ranks.
std::vector<fs::path> leftovers_of_start(const RunPaths& run) {
  std::error_code error;
  fs::directory_iterator entries(run.root, error);
  GLINT_REQUIRE(!error, "cannot read the run folder ", run.root.string(), ": ", error.message(),
                "; choose another --out");
  std::vector<fs::path> leftovers;
  const bool began = fs::exists(run.config(), error);
  for (const fs::directory_entry& entry : entries) {
    if (entry.path() == run.lock() || entry.path().filename().string().starts_with("launch")) continue;
    if (!began && is_leftover(run, entry.path())) {
      leftovers.push_back(entry.path());
      continue;
    }
    throw UserError(str_cat("the run folder ", run.root.string(), " is not empty: choose another --out",
                            began ? ", or continue it with `--resume " + run.root.string() + "`" : ""));
  }
  return leftovers;
}

}  // namespace

RunPaths existing_run(const fs::path& root) {
  const RunPaths paths{root};
  std::error_code unreadable;
  GLINT_REQUIRE(fs::exists(root, unreadable), "there is no run folder ", root.string());
  GLINT_REQUIRE(fs::exists(paths.config(), unreadable), root.string(), " is not a run folder: it has no config.json");
  return paths;
}

TrainOptions read_run_config(const RunPaths& paths) {
  std::ifstream stream(paths.config());
  GLINT_REQUIRE(stream, "cannot read ", paths.config().string(), ": ", std::strerror(errno));
  ordered_json json = ordered_json::parse(stream, nullptr, false);
  GLINT_REQUIRE(json.is_object(), paths.config().string(), " is damaged: it is not a JSON object");
  GLINT_REQUIRE(json.value(kVersionKey, ordered_json()) == kConfigVersion, paths.config().string(),
                " is of another version than this glint's, ", kConfigVersion);
  json.erase(kVersionKey);
  return options_from_json(json, paths.config().string());
}

std::string run_config(const TrainOptions& options) {
  ordered_json json;
  json[kVersionKey] = kConfigVersion;
  json.update(to_json(options));
  return json.dump(2) + "\n";
}

bool is_untrained(const RunPaths& paths) {
  std::error_code unreadable;
  return fs::exists(paths.config(), unreadable) && fs::exists(paths.last(), unreadable) &&
         !fs::exists(paths.data_record(), unreadable) && !fs::exists(paths.metrics(), unreadable);
}

void require_no_folder(const fs::path& path, const char* what) {
  std::error_code error;
  GLINT_REQUIRE(!fs::exists(path, error) || (fs::is_directory(path, error) && fs::is_empty(path, error)), path.string(),
                " exists already: choose another --out for ", what);
}

RunFolder RunFolder::create(const fs::path& root) {
  std::error_code error;
  fs::create_directories(root, error);
  GLINT_REQUIRE(!error && fs::is_directory(root), "cannot create the run folder ", root.string(), ": ",
                error ? error.message() : "it is a file", "; choose another --out");
  RunFolder run{RunPaths{root}};
  leftovers_of_start(run.paths_);
  run.take_lock();
  for (const fs::path& leftover : leftovers_of_start(run.paths_)) {  // again: another process may have used it
    fs::remove_all(leftover, error);
    GLINT_REQUIRE(!error, "cannot remove ", leftover.string(), ", left by an interrupted start: ", error.message());
  }
  return run;
}

RunFolder RunFolder::open(const fs::path& root) {
  RunFolder run{existing_run(root)};
  run.take_lock();
  return run;
}

void RunFolder::discard() noexcept {
  if (!writes_) return;
  std::error_code ignored;
  for (const fs::path& made : {paths_.config(), paths_.tokenizer(), paths_.data_record(), paths_.data()})
    fs::remove_all(made, ignored);
}

Descriptor lock_folder(const fs::path& lock, const std::string& name) {
  Descriptor descriptor(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  GLINT_REQUIRE(descriptor >= 0, "cannot write in ", name, ": ", std::strerror(errno));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  GLINT_REQUIRE(errno != EWOULDBLOCK, name, " is in use by another glint: wait for it, or stop it");
  throw UserError(str_cat("cannot lock ", name, ": ", std::strerror(errno)));
}

void RunFolder::take_lock() { lock_ = lock_folder(paths_.lock(), "the run folder " + paths_.root.string()); }

void RunFolder::write_config(const TrainOptions& options) {
  if (!writes_) return;
  write_file(paths_.config(), run_config(options));
}

void RunFolder::append(const MetricsLine& line) {
  if (!writes_) return;
  if (metrics_ < 0)
    metrics_ = Descriptor(::open(paths_.metrics().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  GLINT_REQUIRE(metrics_ >= 0, "cannot write ", paths_.metrics().string(), ": ", std::strerror(errno));
  const std::string content = to_text(line);
  const ssize_t written =
      ::write(metrics_, content.data(), content.size());  // in one call, so that a kill leaves no partial line
  GLINT_REQUIRE(written >= 0, "cannot write ", paths_.metrics().string(), ": ", std::strerror(errno));
  GLINT_REQUIRE(static_cast<size_t>(written) == content.size(), "cannot write ", paths_.metrics().string(),
                ": disk full");
  if (tensorboard_) tensorboard_->add(line);
}

void RunFolder::write_to_tensorboard(const TrainOptions& options) {
  if (writes_) tensorboard_.emplace(paths_.root, paths_.metrics(), to_json(options));
}

void RunFolder::forget_metrics_after(uint64_t step) {
  if (!writes_) return;
  if (!fs::exists(paths_.metrics())) return;  // none written yet
  std::vector<size_t> ends;
  const std::vector<MetricsLine> lines = read_metrics(paths_.metrics(), &ends);
  size_t keep = 0;
  for (size_t i = 0; i < lines.size() && lines[i].step <= step; ++i) keep = ends[i];
  std::error_code error;
  fs::resize_file(paths_.metrics(), keep, error);
  GLINT_REQUIRE(!error, "cannot write ", paths_.metrics().string(), ": ", error.message());
}

}  // namespace glint
