#include "train/trainer.h"

#include <optional>

#include "data/batches.h"
#include "src/clock.h"
#include "train/checkpoint/team_checkpoint.h"
#include "train/evaluator.h"
#include "train/loaded_run.h"
#include "train/run_data.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/signals.h"
#include "train/text_stream.h"
#include "train/training_step.h"
#include "train/tuning.h"

namespace glint {

namespace {

constexpr int kSignalsEvery = 4;  // steps on GPUs between two comparisons of signals over the ranks

class Trainer {
 public:
  Trainer(const TrainOptions& options, const Device& device, RunFolder& folder, Dataset data, Team& team,
          Changed changed)
      : options_(options),
        folder_(folder),
        team_(team),
        data_(std::move(data)),
        device_(device),
        model_(initialized_model(options, device_, needs_initial(options, folder, team), changed)),
        step_(*model_, step_settings(options, team), {.seed = options.seed}),
        evaluator_(*model_, options.micro_batch, options.model.context, options.attention, options.loss_chunk,
                   options.graph),
        train_windows_(data_.tokens(Split::train), options.model.context, options.seed, Sampling::training),
        train_probe_(data_.tokens(Split::train), options.model.context, options.seed, Sampling::evaluation),
        val_probe_(data_.tokens(Split::val), options.model.context, options.seed, Sampling::evaluation),
        log_(options_, folder, team) {}

  // Loads the last checkpoint, if there is one.
  void restore(Changed changed);
  // Returns the signal that stopped it, or 0 after the last step.
  int run();

 private:
  // Whether to load the weights of --init-from: no checkpoint has them yet.
  static bool needs_initial(const TrainOptions& options, const RunFolder& folder, Team& team) {
    bool needs = !options.init_from.empty() && !has_checkpoint(folder.paths().last());
    team.share(needs);
    return needs;
  }
  static std::unique_ptr<Model> initialized_model(const TrainOptions& options, const Device& device, bool from_run,
                                                  Changed changed) {
    auto model = make_model(options.model, device, dtype_of(on_this_machine(options).dtype));
    model->initialize(options.seed);
    if (from_run) load_initial(*model, options.init_from, changed);
    return model;
  }
  int steps(SignalWatch& signals);
  uint64_t step() const { return step_.rng().step; }
  bool at(int64_t interval) const { return interval > 0 && step() % static_cast<uint64_t>(interval) == 0; }
  bool stalled() const { return options_.patience > 0 && since_best_ >= options_.patience; }
  bool done() const { return step() >= static_cast<uint64_t>(options_.steps) || stalled(); }

  void save(bool best);
  void evaluate();
  void draw_sample();
  int train_one_step(SignalWatch& signals);
  void require_same_start();
  bool should_sync() const;
  StepResult sync();

  TrainOptions options_;
  RunFolder& folder_;
  Team& team_;
  Dataset data_;
  Device device_;
  std::unique_ptr<Model> model_;
  TrainingStep step_;
  Evaluator evaluator_;
  RandomWindows train_windows_, train_probe_, val_probe_;
  RunLog log_;
  const FillBatch fill_ = [this](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    train_windows_.fill(tokens, targets, step(), first, count);
    data_.require_unchanged();
  };

  std::optional<double> best_;  // validation loss
  int since_best_ = 0;          // evaluations
  bool save_asked_ = false;     // by SIGUSR1, on any rank
  std::optional<uint64_t> saved_step_;
};

void Trainer::restore(Changed changed) {
  if (const auto state =
          load_checkpoint_together(folder_.paths().last(), model_->parameters(), step_, team_, changed)) {
    since_best_ = state->evaluations_since_best;
    step_.restore({.seed = state->rng_seed, .offset = state->rng_offset, .step = state->step});
    best_ = state->best_val_loss;
  }
  folder_.forget_metrics_after(step());
}

void Trainer::save(bool best) {
  const auto tokens_per_step = static_cast<uint64_t>(options_.batch) * static_cast<uint64_t>(options_.model.context);
  const CheckpointState state = {.step = step(),
                                 .tokens = step() * tokens_per_step,
                                 .rng_seed = step_.rng().seed,
                                 .rng_offset = step_.rng().offset,
                                 .best_val_loss = best_,
                                 .evaluations_since_best = since_best_,
                                 .options = options_,
                                 .end_token = data_.tokenizer().separator()};
  const auto& folder = best ? folder_.paths().best() : folder_.paths().last();
  save_checkpoint_together(folder, best ? Saved::weights : Saved::all, model_->parameters(), step_, team_, state);
  if (!best) saved_step_ = step();
}

void Trainer::evaluate() {
  const auto loss_of = [&](const RandomWindows& windows) {
    return evaluator_.mean_loss(
        [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
          windows.fill(tokens, targets, 0, first, count);
          data_.require_unchanged();
        },
        (options_.eval_batches * options_.batch + evaluator_.batch() - 1) / evaluator_.batch(), &team_.comm());
  };
  const double val_loss = loss_of(val_probe_), train_loss = loss_of(train_probe_);
  log_.evaluated(step(), val_loss, train_loss, data_.entropy());
  if (step() == 0) return;
  if (best_ && *best_ <= val_loss) return static_cast<void>(++since_best_);
  best_ = val_loss, since_best_ = 0;
  save(true);
  log_.time_left().saved_best();
}

// Rank 0 draws alone, what `glint sample --checkpoint last` would print.
void Trainer::draw_sample() {
  constexpr int kTokens = 200;
  if (team_.is_main()) log_.sampled(step(), default_sample(*model_, data_.tokenizer(), kTokens));
}

StepResult Trainer::sync() {
  const StepResult result = step_.result();
  if (result.finite() && result.step == step()) return result;
  const bool saved = has_checkpoint(folder_.paths().last());
  const std::string first = find_nonfinite(step_, fill_, team_);
  throw UserError(str_cat(
      "step ", step() + 1, ": the loss or its gradient is no longer finite; first in ", first, ". ",
      saved ? "The last good checkpoint is " + folder_.paths().last().string() : "No checkpoint has been written yet",
      "; try a lower --lr or a longer --warmup", options_.grad_clip > 0 ? "" : ", or a --grad-clip"));
}

// Whether the host waits for the last step: to report it, to use the parameters, or to compare signals over the ranks.
// Always on a CPU.
bool Trainer::should_sync() const {
  return device_.is_cpu() || done() || at(options_.log_every) || at(options_.eval_every) ||
         at(options_.checkpoint_every) || at(options_.sample_every) || (team_.size() > 1 && at(kSignalsEvery));
}

// Returns the signal that any rank has received, or 0.
int Trainer::train_one_step(SignalWatch& signals) {
  const auto start = Clock::now();
  const double lr = learning_rate(options_, static_cast<int64_t>(step()));
  step_.run(fill_, lr);
  StepResult result;
  save_asked_ |= signals.take_save_request();
  int stop = team_.size() == 1 ? signals.received() : 0;
  if (should_sync()) {
    result = sync();
    stop = team_.largest(signals.received());
    save_asked_ = team_.largest(save_asked_) != 0;
    log_.time_left().stepped(step());
  }
  log_.add_step(seconds_since(start));
  if (at(options_.log_every) || done()) log_.report(result, lr);
  return stop;
}

// Throws unless all ranks start from the same state. (Their options have been compared already.)
void Trainer::require_same_start() {
  if (team_.size() == 1) return;
  team_.require_same({{"checksum of the data", str_cat(data_.info().checksum)},
                      {"step", str_cat(step())},
                      {"checksum of the parameters", str_cat(checksum_of(model_->parameters()))}});
}

int Trainer::run() {
  require_same_start();
  SignalWatch signals;
  try {
    return steps(signals);
  } catch (const PeerError& error) {
    throw PeerError(error.rank, str_cat("step ", step() + 1, ": ", error.what()), error.reported);
  } catch (const std::exception& error) {
    team_.comm().abort(error.what());  // before the destructors, which may wait for the other ranks
    throw;
  }
}

int Trainer::steps(SignalWatch& signals) {
  int stop = 0;
  log_.start(*model_, step_, data_, done());
  if (options_.tune && !done()) {
    const Tuned tuned = tune_products(step_, fill_, device_, team_, folder_.paths().products());
    if (!tuned.note.empty()) log_.note(tuned.note);
    if (!tuned.warning.empty()) log_.warning(tuned.warning);
  }
  if (step() == 0 && !options_.init_from.empty()) save(false);  // to resume without that run
  log_.time_left().start(step());
  if (step() == 0 && !done() && options_.eval_every > 0) evaluate();
  while (!done() && !stop) {
    stop = train_one_step(signals);
    if (options_.eval_every > 0 && (at(options_.eval_every) || done())) evaluate();
    if (options_.sample_every > 0 && (at(options_.sample_every) || done())) draw_sample();
    const bool asked = save_asked_ && (team_.size() == 1 || should_sync());  // all ranks know
    if (!at(options_.checkpoint_every) && !asked) continue;
    if (!should_sync()) sync();
    save(false), log_.time_left().saved_checkpoint();
    if (asked) log_.note(str_cat("step ", step(), ": saved, by SIGUSR1"));
    save_asked_ = false;
  }
  if (saved_step_ != step()) {
    if (log_.has_unreported_steps()) sync();  // a signal came between two syncs
    save(false);
  }
  log_.finish(step_);
  if (stop) {
    log_.warning(
        str_cat("stopped at step ", step(), "; continue with: glint train --resume ", folder_.paths().root.string()));
    return stop;
  }
  if (stalled() && step() < static_cast<uint64_t>(options_.steps))
    log_.note(str_cat("stopped at step ", step(), ": no better validation loss in ", since_best_,
                      " evaluations (--patience)"));
  log_.note(str_cat("done: ", folder_.paths().root.string(), " holds last/", best_ ? " and best/" : ""));
  return 0;
}

}  // namespace

int start_training(TrainOptions options, RunFolder& folder, Team& team, Changed changed) {
  const Device device = open_device(options, team.gpu());  // first: if it fails, nothing is written
  std::optional<Trainer> trainer;
  try {
    Dataset data = team_data(folder.paths(), options, team);
    options.model.vocab = data.tokenizer().vocabulary();
    options.model.validate();
    if (options.data.size() == 1 && is_prepared(options.data.front()))
      options.tokenizer = name_of(data.tokenizer().kind());
    folder.write_config(options);
    trainer.emplace(options, device, folder, std::move(data), team, changed);
  } catch (...) {
    folder.discard();  // so that the same --out can be used again, for example with a smaller model
    throw;
  }
  return trainer->run();
}

int resume_training(const TrainOptions& options, RunFolder& folder, Team& team, Changed changed) {
  const Device device = open_device(options, team.gpu());
  Trainer trainer(options, device, folder, team_data(folder.paths(), options, team), team, changed);
  trainer.restore(changed);
  return trainer.run();
}

}  // namespace glint
