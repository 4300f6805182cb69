#include "train/warnings.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "kernels/check.h"
#include "kernels/dropout.h"
#include "src/memory.h"

namespace glint {

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
