#include "train/random_step.h"

#include <utility>

namespace glint {

RandomStep::RandomStep(TrainOptions options, const Device& device, DType dtype, Team& team)
    : options_(std::move(options)) {
  GptConfig& config = options_.model;
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  GLINT_REQUIRE(options_.batch >= 1 && options_.batch % team.size() == 0, "--batch ", options_.batch,
                " does not divide over ", team.size(), " ranks");
  const int share = options_.batch / team.size();
  if (options_.micro_batch == 0) options_.micro_batch = share;
  GLINT_REQUIRE(options_.loss_chunk >= 0, "--loss-chunk ", options_.loss_chunk, ": give 0 or more");
  GLINT_REQUIRE(options_.micro_batch >= 1 && share % options_.micro_batch == 0, "--micro-batch ", options_.micro_batch,
                " does not divide --batch ", options_.batch,
                team.size() > 1 ? str_cat(" / ", team.size(), " ranks") : "");
  model_ = make_model(config, device, dtype);
  model_->initialize(1);
  step_ = std::make_unique<TrainingStep>(*model_, step_settings(options_, team), RngState{.seed = 1});
  fill_ = [this](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    const auto vocab = static_cast<uint32_t>(options_.model.vocab);
    for (int i = 0; i < count * options_.model.context; ++i) {
      const uint32_t place = static_cast<uint32_t>(i) + static_cast<uint32_t>(first) * 7919u +
                             static_cast<uint32_t>(step_->rng().step) * 104729u;
      tokens[i] = static_cast<int32_t>(place * 2654435761u % vocab);
      targets[i] = static_cast<int32_t>((place + 1) * 2654435761u % vocab);
    }
  };
}

}  // namespace glint
