#include "train/study/training_run.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <future>
#include <utility>

#include "data/batches.h"
#include "train/evaluator.h"
#include "train/schedule.h"
#include "train/training_step.h"

namespace glint {

std::vector<LossPoint> train_run(const TrainingRun& run, const RunTokens& tokens, const PartDone& done) {
  constexpr uint64_t kProbe = 1;  // seed of the windows that are measured
  const TrainOptions& o = run.options;
  const Device device = cpu_context(1, o.matmul);
  const auto model = make_model(o.model, device, DType::f32);
  model->initialize(o.seed);
  Team alone({}, {}, o);
  StepSettings settings = step_settings(o, alone);
  settings.dropout_variant = run.variant;
  TrainingStep step(*model, settings, {.seed = o.seed});
  Evaluator evaluator(*model, o.batch, o.model.context, AttentionKind::flash);
  const RandomWindows windows(tokens.train, o.model.context, o.seed, Sampling::training);
  const auto loss_of = [&](const TokenSpan& split) {
    const RandomWindows probe(split, o.model.context, kProbe, Sampling::evaluation);
    return evaluator.mean_loss(probe.batch(0), o.eval_batches);
  };
  std::vector<LossPoint> curve;
  for (int64_t n = 0;; ++n) {
    done(static_cast<double>(n) / static_cast<double>(o.steps));
    if (n % o.eval_every == 0 || n == o.steps) {
      curve.push_back({n, loss_of(tokens.train), loss_of(tokens.val)});
      GLINT_REQUIRE(std::isfinite(curve.back().train), "step ", n, ": the loss is no longer finite; try a lower --lr");
    }
    if (n == o.steps) return curve;
    if (run.same_mask) step.restore({.seed = o.seed, .offset = 0, .step = step.rng().step});
    step.run(windows.batch(static_cast<uint64_t>(n)), learning_rate(o, n));
  }
}

void side_by_side(size_t count, int workers, const PartDone& done,
                  const std::function<void(size_t, const PartDone&)>& work) {
  struct Stopped {};
  std::vector<std::atomic<double>> shares(count);
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  const auto work_on = [&] {
    try {
      for (size_t n = next++; n < count && !stop; n = next++) {
        work(n, [&, n](double share) {
          shares[n] = share;
          if (stop) throw Stopped();
        });
      }
    } catch (...) {
      stop = true;
      throw;
    }
  };
  std::vector<std::future<void>> running;
  for (int worker = 0; worker < workers; ++worker) running.push_back(std::async(std::launch::async, work_on));
  std::exception_ptr failure;
  const auto keep_failure = [&](const auto& call) {
    try {
      call();
    } catch (const Stopped&) {
    } catch (...) {
      stop = true;
      if (!failure) failure = std::current_exception();
    }
  };
  for (std::future<void>& worker : running) {
    while (worker.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
      double sum = 0;
      for (const auto& share : shares) sum += share;
      if (!failure) keep_failure([&] { done(sum / static_cast<double>(count)); });
    }
    keep_failure([&] { worker.get(); });
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace glint
