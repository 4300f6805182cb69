#include "train/time_left.h"

#include <utility>

namespace glint {

namespace {

// Of the steps first .. last, those that are multiples of `every`, and the last one.
double count_from(uint64_t first, uint64_t last, uint64_t every) {
  const uint64_t multiples = every == 0 ? 0 : last / every - (first - 1) / every;
  return static_cast<double>(multiples + (every == 0 || last % every != 0 ? 1 : 0));
}

}  // namespace

void TimeLeft::Mean::add(double seconds, double count) {
  if (++measured_ == 2) seconds_ = count_ = 0;
  if (count_ >= window_) seconds_ /= 2, count_ /= 2;
  seconds_ += seconds;
  count_ += count;
}

double TimeLeft::lap() {
  const double now = now_();
  return now - std::exchange(last_, now);
}

void TimeLeft::start(uint64_t step) {
  lap();
  step_ = step;
}

void TimeLeft::stepped(uint64_t step) {
  if (step > step_) step_seconds_.add(lap(), static_cast<double>(step - step_));
  step_ = step;
}

void TimeLeft::evaluated() { evaluation_seconds_.add(lap(), 1); }

void TimeLeft::saved_best() {
  best_seconds_ = lap();
  evaluation_seconds_.add_to_last(best_seconds_);
}

void TimeLeft::saved_checkpoint() { checkpoint_seconds_.add(lap(), 1); }

void TimeLeft::sampled() { sample_seconds_.add(lap(), 1); }

std::optional<double> TimeLeft::seconds() const {
  if (!step_seconds_.known() || step_ > schedule_.steps) return std::nullopt;
  double result = static_cast<double>(schedule_.steps - step_) * step_seconds_.value();
  if (schedule_.eval_every > 0)
    result += count_from(step_, schedule_.steps, schedule_.eval_every) * evaluation_seconds_.value();
  if (schedule_.sample_every > 0)
    result += count_from(step_, schedule_.steps, schedule_.sample_every) * sample_seconds_.value();
  // Until one has been written: best/ holds the weights alone, a checkpoint AdamW's two moments as well (of Muon one).
  const double checkpoint = checkpoint_seconds_.known() ? checkpoint_seconds_.value() : 3 * best_seconds_;
  return result + count_from(step_, schedule_.steps, schedule_.checkpoint_every) * checkpoint;
}

}  // namespace glint
