#include "train/run_log.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "kernels/dropout.h"
#include "src/machine.h"
#include "src/measure/peak.h"
#include "src/memory.h"

namespace glint {

namespace {

// A line each.
std::string describe_run(const Model& model, const TrainingStep& step, const Dataset& data, const Team& team,
                         int batch) {
  const Parameters& p = model.parameters();
  const auto bytes_of = [&](const Partition& partition) {
    return human_bytes(static_cast<double>(training_bytes(p, partition)));
  };
  std::string text = str_cat(
      model.describe(), ", context ", model.context(), ", vocabulary ", model.vocab(), ": ", p.count(),
      " parameters\nmemory: ", bytes_of(step.partition()), " for parameters, gradients and moments; ",
      human_bytes(static_cast<double>(step.arena_bytes())), " for activations\ndata: ", data.info().train_tokens,
      " training and ", data.info().val_tokens, " validation tokens from ", data.info().source);
  for (const Split split : {Split::train, Split::val})
    if (const std::string unknown = data.describe_unknown(split); !unknown.empty())
      text += str_cat("\n", name_of(split), " split: ", unknown);
  if (team.size() > 1) {
    const auto bytes_if = [&](bool sharded) {
      return bytes_of(
          partition_of(p, team.rank(), team.size(),
                       {.sharded = sharded, .moments = step.partition().moments, .muon = step.partition().muon > 0}));
    };
    text += str_cat("\nranks: ", team.size(), ", each with ", batch / team.size(),
                    " sequences per batch; gradients in ", step.partition().buckets.size(),
                    " buckets; parameters, gradients and moments of a rank: ", bytes_if(true), " with --zero 1, ",
                    bytes_if(false), " without");
  }
  if (data.entropy())
    text +=
        str_cat("\nentropy: no model can have a loss below the corpus's entropy, ", *data.entropy(), " nats per token");
  return text;
}

// Settings that are allowed and that rarely do what is meant. checkpoint_bytes: of one checkpoint.
std::vector<std::string> warnings_about(const TrainOptions& o, double checkpoint_bytes, uint64_t step) {
  std::vector<std::string> lines;
  const auto warn = [&](const auto&... parts) { lines.push_back(str_cat("warning: ", parts...)); };
  const int cores = omp_get_num_procs();
  if (o.threads > cores)
    warn("--threads ", o.threads, " is more than the ", cores, cores == 1 ? " core" : " cores",
         " that this process may use: much slower than --threads ", cores);
  const auto check_dropout = [&](float p, const char* flag) {
    const double real = 1 - (keep_rule(p).threshold + 1) / 256.0;
    if (p > 0 && (std::abs(real - p) > 0.05 * p || std::abs(p - real) > 0.05 * (1 - p)))
      warn("--", flag, " ", p, " drops ", 100 * real, "%: masks have 8 bits, as FlashAttention-2's");
  };
  check_dropout(o.model.attn_dropout, "attn-dropout");
  check_dropout(o.model.resid_dropout, "resid-dropout");
  check_dropout(o.model.embd_dropout, "embd-dropout");
  if (o.lr * o.weight_decay >= 1)
    warn("--lr ", o.lr, " times --weight-decay ", o.weight_decay, " is ", o.lr * o.weight_decay,
         ": from 1 on, each step decays weights to zero and beyond");
  std::error_code unknown;
  const double free = static_cast<double>(std::filesystem::space(o.out, unknown).available);
  // last/ and its successor, and the weights in best/; those that a resumed run has are on the disk already.
  const double copies = step > 0 ? 1 : o.eval_every > 0 ? 2.4 : 2;
  if (!unknown && copies * checkpoint_bytes > free && o.steps > static_cast<int64_t>(step))
    warn("the disk of ", o.out, " has ", human_bytes(free), " left, and checkpoints need up to ",
         human_bytes(copies * checkpoint_bytes));
  return lines;
}

uint64_t tokens_per_step(const TrainOptions& o) {
  return static_cast<uint64_t>(o.batch) * static_cast<uint64_t>(o.model.context);
}

}  // namespace

RunLog::RunLog(const TrainOptions& o, RunFolder& folder, Team& team)
    : options_(o),
      folder_(folder),
      team_(team),
      progress_({o.quiet || !team.is_main(), static_cast<uint64_t>(o.steps)}),
      time_left_({static_cast<uint64_t>(o.steps), static_cast<uint64_t>(o.eval_every),
                  static_cast<uint64_t>(o.checkpoint_every), static_cast<uint64_t>(o.sample_every)}) {}

MetricsLine RunLog::line_of(uint64_t step) const { return {.step = step, .tokens = step * tokens_per_step(options_)}; }

void RunLog::start(Model& model, const TrainingStep& training, const Dataset& data, bool done) {
  const Parameters& p = model.parameters();
  const Device& device = p.device();
  const uint64_t step = training.rng().step;
  if (team_.is_main() && (!options_.quiet || options_.tensorboard)) {
    const double peak = 1e9 * team_.size() * peak_gflops(device, p.dtype());
    if (peak > 0) mfu_of_token_ = model.flops_per_token(options_.model.context) / peak;
  }
  if (options_.tensorboard) folder_.write_to_tensorboard(options_);
  MetricsLine line = line_of(step);
  line.machine = str_cat(cpu_name(), ", ", human_bytes(static_cast<double>(machine_memory())));
  line.device = device.name(), line.dtype = p.dtype() == DType::bf16 ? "bf16" : "fp32";
  folder_.append(line);
  note(describe_run(model, training, data, team_, options_.batch));
  if (step > 0)
    note(str_cat("resumed at step ", step,
                 step >= static_cast<uint64_t>(options_.steps) ? ", the last: --steps trains longer" : ""));
  if (step > 0 && !done && options_.steps > options_.lr_decay_steps)
    note(str_cat("the decay ended at --lr-decay-steps ", options_.lr_decay_steps,
                 ", which a resumed run keeps: from there on the learning rate is --min-lr ", options_.min_lr));
  if (!team_.is_main()) return;
  const double checkpoint_bytes = 3.0 * sizeof(float) * static_cast<double>(p.count());
  for (const std::string& text : warnings_about(options_, checkpoint_bytes, step)) warning(text);
}

void RunLog::report(const StepResult& result, double lr) {
  const double step_seconds = seconds_ / static_cast<double>(steps_);
  MetricsLine line = line_of(result.step);
  line.loss = result.loss;
  line.lr = lr;
  line.grad_norm = result.gradient_norm;
  line.step_ms = 1000 * step_seconds;
  line.tokens_per_s = static_cast<double>(tokens_per_step(options_)) / step_seconds;
  if (mfu_of_token_ > 0) line.mfu = *line.tokens_per_s * mfu_of_token_;
  folder_.append(line);
  progress_.report({result.step, result.loss, last_val_loss_, *line.tokens_per_s, line.mfu, time_left_.seconds()});
  seconds_ = 0, steps_ = 0;
}

void RunLog::evaluated(uint64_t step, double val_loss, double train_loss, std::optional<double> entropy) {
  MetricsLine line = line_of(step);
  line.val_loss = last_val_loss_ = val_loss;
  line.train_loss = train_loss;
  folder_.append(line);
  note(str_cat("step ", step, ": validation loss ", val_loss, ", training loss ", train_loss,
               entropy ? str_cat(" (entropy ", *entropy, ")") : ""));
  time_left_.evaluated();
}

void RunLog::sampled(uint64_t step, const std::string& text) {
  MetricsLine line = line_of(step);
  line.sample = text;
  folder_.append(line);
  note(str_cat("step ", step, ", a sample: ", text));
  time_left_.sampled();
}

void RunLog::finish(const TrainingStep& step) {
  if (const CollectiveQueue::Times times = step.exchanged(); times.busy > 0) {
    const double ms = 1000 * times.busy / static_cast<double>(step.timed_steps());
    note(str_cat("ranks: exchanging gradients and parameters took ", ms, " ms a step, ",
                 std::lround(100 * (1 - std::min(1.0, times.waited / times.busy))),
                 "% of it overlapped with backward"));
  }
  progress_.finish();
}

}  // namespace glint
