#include "train/describe.h"

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
      return bytes_of(partition_of(p, team.rank(), team.size(), {.sharded = sharded}));
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

}  // namespace glint
