#include "train/random_step.h"

#include <utility>

namespace glint {

RandomStep::RandomStep(TrainOptions options, const Device& device, DType dtype, Team& team)
    : options_(std::move(options)) {
  options_.ranks = team.size();
  options_.dtype = dtype == DType::bf16 ? DtypeChoice::bf16 : DtypeChoice::fp32;
  options_.complete();
  options_.validate();
  model_ = make_model(options_.model, device, dtype);
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
