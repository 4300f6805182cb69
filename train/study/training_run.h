// Training runs inside a study: as `glint train` trains, but without a run folder, one CPU thread each.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/token_file.h"
#include "train/options.h"
#include "train/study/study.h"

namespace glint {

struct TrainingRun {
  TrainOptions options;  // completed; model.vocab is set
  DropoutVariant variant = DropoutVariant::flash;
  bool same_mask = false;  // the random numbers of each step are those of the first
};

struct RunTokens {
  TokenSpan train, val;
};
struct LossPoint {
  int64_t step;
  double train, val;  // without dropout, nats per token
};

// Trains; the losses every `eval_every` steps and at the end. The windows they are measured on depend on the tokens
// alone, so that runs compare. UserError if a loss is not finite.
std::vector<LossPoint> train_run(const TrainingRun& run, const RunTokens& tokens, const PartDone& done);

// Calls work(n, part_done) for each n < count, `workers` at a time, on threads of their own; `done` gets the mean of
// what they report. Where it or a call throws, the others end soon, and the exception passes on.
void side_by_side(size_t count, int workers, const PartDone& done,
                  const std::function<void(size_t n, const PartDone& part_done)>& work);

}  // namespace glint
