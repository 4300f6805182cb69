#include "train/time_left.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace glint;

namespace {

// What a run's parts take, in seconds of a clock that this run moves.
struct Script {
  RunSchedule schedule;
  uint64_t first = 0;           // resumed at this step
  uint64_t sync_every = 1;      // the host waits for a step
  uint64_t slow_steps = 20;     // that many take five times as long
  uint64_t best_until = 1'000;  // evaluations up to this step write best/, which no estimate can foresee
  double step = 0.01, evaluation = 2.3, best = 0.3, checkpoint = 0.9, sample = 1.1;
};

struct Told {
  uint64_t step;
  int evaluations;
  double estimate, mean_of_all, truth;
};

// Reports every ten steps, in the trainer's order.
std::vector<Told> run(const Script& script) {
  const auto& [steps, eval_every, checkpoint_every, sample_every] = script.schedule;
  double now = 100;
  TimeLeft left(script.schedule, [&] { return now; });
  int evaluations = 0;
  const auto evaluate = [&](uint64_t step) {
    now += script.evaluation * (++evaluations == 1 ? 3 : 1);  // the first one warms up
    left.evaluated();
    if (step == 0 || step > script.best_until) return;
    now += script.best;
    left.saved_best();
  };
  now += 30;  // loading
  left.start(script.first);
  if (script.first == 0) evaluate(0);
  const double began = now;
  std::vector<Told> told;
  for (uint64_t step = script.first + 1; step <= steps; ++step) {
    const double noise = 1 + 0.2 * std::sin(static_cast<double>(step));
    now += script.step * noise * (step - script.first <= script.slow_steps ? 5 : 1);
    if (step % script.sync_every == 0 || step % 10 == 0 || step == steps) left.stepped(step);
    if (step % 10 == 0 || step == steps) {
      const auto seconds = left.seconds();
      REQUIRE(seconds);
      const auto done = static_cast<double>(step - script.first), still = static_cast<double>(steps - step);
      told.push_back({step, evaluations, *seconds, (now - began) / done * still, now});
    }
    if (step % eval_every == 0 || step == steps) evaluate(step);
    if (sample_every > 0 && (step % sample_every == 0 || step == steps)) now += script.sample, left.sampled();
    if (checkpoint_every == 0 ? step == steps : step % checkpoint_every == 0 || step == steps) {
      now += script.checkpoint;
      left.saved_checkpoint();
    }
  }
  for (Told& report : told) report.truth = now - report.truth;
  return told;
}

// The worst relative error from the second evaluation on.
double worst(const std::vector<Told>& told, double Told::*estimate) {
  double result = 0;
  for (const Told& report : told)
    if (report.evaluations >= 2) result = std::max(result, std::abs(report.*estimate / report.truth - 1));
  return result;
}

}  // namespace

TEST_CASE("time left: within 10% from the second evaluation on, with evaluations, checkpoints and slow first steps") {
  Script usual, uneven, on_gpu, resumed, kept, sampled;
  for (Script* script : {&usual, &uneven, &on_gpu, &resumed, &kept, &sampled}) script->schedule = {2000, 250, 500};
  uneven.schedule = {1990, 300, 0};  // the last evaluation and the only checkpoint are at the end
  on_gpu.sync_every = 10, on_gpu.step = 0.005;
  resumed.first = 700;
  kept.best_until = 2000;
  sampled.schedule.sample_every = 100;
  for (const Script& script : {usual, uneven, on_gpu, resumed, kept, sampled}) {
    const auto told = run(script);
    CHECK(worst(told, &Told::estimate) < 0.1);
    CHECK(worst(told, &Told::mean_of_all) > 0.15);  // so the script is hard enough
  }
}

TEST_CASE("time left: unknown before the first step, and a first step counts only until there are others") {
  double now = 0;
  TimeLeft left({.steps = 10, .eval_every = 0, .checkpoint_every = 0}, [&] { return now; });
  left.start(0);
  CHECK(!left.seconds());
  now += 9, left.stepped(1);
  CHECK(*left.seconds() == doctest::Approx(81));
  now += 1, left.stepped(2);
  CHECK(*left.seconds() == doctest::Approx(8));
  now += 3, left.saved_checkpoint();
  now += 2, left.stepped(4);
  CHECK(*left.seconds() == doctest::Approx(6 + 3));  // the last step's checkpoint
}
