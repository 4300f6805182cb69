// A run's folder: config.json, metrics.jsonl, tokenizer.json, data/, checkpoints last/ and best/, and a lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "data/descriptor.h"
#include "train/metrics.h"
#include "train/options.h"
#include "train/tensorboard.h"

namespace glint {

// The paths in a run folder. sample and eval need nothing else.
struct RunPaths {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "config.json"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path tokenizer() const { return root / "tokenizer.json"; }
  std::filesystem::path data() const { return root / "data"; }               // tokenised once
  std::filesystem::path data_record() const { return root / "data.json"; }   // where the tokens are
  std::filesystem::path products() const { return root / "products.json"; }  // their algorithms on a GPU
  std::filesystem::path last() const { return root / "last"; }
  std::filesystem::path best() const { return root / "best"; }
  std::filesystem::path lock() const { return root / "lock"; }
};

// Paths of a run that exists; UserError if `root` isn't a run folder.
RunPaths existing_run(const std::filesystem::path& root);
// The options a run was started with.
TrainOptions read_run_config(const RunPaths& paths);
// The text of its config.json.
std::string run_config(const TrainOptions& options);
// Whether a run was imported and has not been trained: it has no data yet.
bool is_untrained(const RunPaths& paths);
// UserError if there is something at `path`, other than an empty folder.
void require_no_folder(const std::filesystem::path& path, const char* what);

// Locks `lock`, a file of the folder that `name` names; the lock ends with the process. UserError if it is taken.
Descriptor lock_folder(const std::filesystem::path& lock, const std::string& name);

// A run folder that this process has locked; the lock ends with the process.
class RunFolder {
 public:
  // UserError if the folder is not empty, can't be written, or is in use. What a start that was interrupted has left
  // (nothing but tokens, no config.json) is removed.
  static RunFolder create(const std::filesystem::path& root);
  // For --resume. UserError if it is not a run folder or is in use.
  static RunFolder open(const std::filesystem::path& root);

  // The folder of a run that another process (rank 0) has locked: writes nothing.
  static RunFolder follow(const std::filesystem::path& root) { return RunFolder(RunPaths{root}, false); }

  const RunPaths& paths() const { return paths_; }
  void write_config(const TrainOptions& options);
  void append(const MetricsLine& line);
  // From here on append() writes TensorBoard's event files too.
  void write_to_tensorboard(const TrainOptions& options);
  // Removes the files that a run writes before its first step.
  void discard() noexcept;
  // Removes lines after `step`, and an incomplete last line, before the run continues from `step`.
  void forget_metrics_after(uint64_t step);

 private:
  explicit RunFolder(RunPaths paths, bool writes = true) : paths_(std::move(paths)), writes_(writes) {}
  void take_lock();

  RunPaths paths_;
  bool writes_;
  Descriptor lock_;  // closing it releases the lock; removing the file would race with another process
  Descriptor metrics_;
  std::optional<TensorBoard> tensorboard_;
};

}  // namespace glint
