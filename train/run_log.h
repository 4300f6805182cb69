// What a training run says about itself: lines on the terminal, metrics.jsonl, TensorBoard's events. Only rank 0
// prints and writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "models/model.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/team.h"
#include "train/time_left.h"
#include "train/training_step.h"

namespace glint {

class RunLog {
 public:
  RunLog(const TrainOptions& options, RunFolder& folder, Team& team);

  // Before the first step: machine, model, memory, data and ranks, and warnings about settings that rarely do what is
  // meant.
  void start(Model& model, const TrainingStep& step, const Dataset& data, bool done);
  // Steps that take this long have been run; report() writes the means over those since it was last called.
  void add_step(double seconds) { seconds_ += seconds, steps_ += 1; }
  bool has_unreported_steps() const { return steps_ > 0; }
  void report(const StepResult& result, double lr);
  void evaluated(uint64_t step, double val_loss, double train_loss, std::optional<double> entropy);
  void sampled(uint64_t step, const std::string& text);
  // After the last step: what the ranks waited for each other.
  void finish(const TrainingStep& step);

  void note(const std::string& line) { progress_.note(line); }
  void warning(const std::string& line) {
    if (team_.is_main()) progress_.warning(line);
  }
  TimeLeft& time_left() { return time_left_; }

 private:
  MetricsLine line_of(uint64_t step) const;

  const TrainOptions& options_;
  RunFolder& folder_;
  Team& team_;
  Progress progress_;
  TimeLeft time_left_;
  std::optional<double> last_val_loss_;
  double seconds_ = 0;  // of training since the last report
  uint64_t steps_ = 0;
  double mfu_of_token_ = 0;  // MFU at one token a second; 0: unknown
};

}  // namespace glint
