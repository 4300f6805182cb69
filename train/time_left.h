// How long a run still takes, by what its own steps, evaluations and checkpoints have taken.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "src/clock.h"

namespace glint {

// Of a run: each `every` is in steps, 0: never. The last step is always evaluated, sampled (unless never) and saved.
struct RunSchedule {
  uint64_t steps = 0, eval_every = 0, checkpoint_every = 0, sample_every = 0;
};

// Each call charges the time since the one before to what it names, so that all of a run's time is counted.
class TimeLeft {
 public:
  using Now = std::function<double()>;  // seconds
  explicit TimeLeft(const RunSchedule& schedule, Now now = seconds_now) : schedule_(schedule), now_(std::move(now)) {}

  void start(uint64_t step);    // steps done before
  void stepped(uint64_t step);  // all up to this one are done
  void evaluated();
  void saved_best();  // part of the evaluation before it
  void saved_checkpoint();
  void sampled();
  // Between stepped() and the evaluation, the text and the checkpoint of that step. Empty before the first step.
  std::optional<double> seconds() const;

 private:
  // The mean of about the last `window` of equal things. The first one measured, which warms up, counts only until
  // there is a second.
  class Mean {
   public:
    explicit Mean(double window) : window_(window) {}
    void add(double seconds, double count);
    void add_to_last(double seconds) { seconds_ += seconds; }
    bool known() const { return count_ > 0; }
    double value() const { return known() ? seconds_ / count_ : 0; }

   private:
    double window_, seconds_ = 0, count_ = 0;
    int measured_ = 0;
  };
  double lap();

  RunSchedule schedule_;
  Now now_;
  double last_ = 0;  // when the last call was
  uint64_t step_ = 0;
  Mean step_seconds_{64}, evaluation_seconds_{4}, checkpoint_seconds_{4}, sample_seconds_{4};
  double best_seconds_ = 0;  // of the last best/
};

}  // namespace glint
