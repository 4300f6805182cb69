#include "train/describe.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "kernels/dropout.h"
#include "src/memory.h"

namespace glint {

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

std::string describe_exchange(const TrainingStep& step) {
  const CollectiveQueue::Times times = step.exchanged();
  if (times.busy == 0) return "";
  return str_cat("ranks: exchanging gradients and parameters took ",
                 1000 * times.busy / static_cast<double>(step.timed_steps()), " ms a step, ",
                 std::lround(100 * (1 - std::min(1.0, times.waited / times.busy))), "% of it overlapped with backward");
}

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

}  // namespace glint
