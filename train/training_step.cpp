#include "train/training_step.h"

#include <cmath>

#include "kernels/reduce.h"

namespace glint {

bool StepResult::finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }

TrainingStep::TrainingStep(Gpt& model, const CpuContext& cpu, const StepSettings& settings, RngState& rng)
    : model_(model),
      cpu_(cpu),
      settings_(settings),
      rng_(rng),
      graph_({.cpu = cpu, .training = true, .rng = &rng, .global_batch = settings.batch, .recompute = settings.recompute}) {
  GLINT_CHECK(settings.batch % settings.micro_batch == 0, "batch ", settings.batch, ", micro-batch ", settings.micro_batch);
  model.parameters().allocate_training();
  const int B = settings.micro_batch, T = settings.context;
  tokens_ = graph_.input("tokens", {B, T}, DType::i32);
  targets_ = graph_.input("targets", {B, T}, DType::i32);
  const Tensor logits = model.head(graph_, model.hidden(graph_, tokens_, settings.attention));
  losses_ = cross_entropy(graph_, logits, targets_, 1.0f / (static_cast<float>(settings.batch) * static_cast<float>(T)));
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "activations and their gradients");
  graph_.bind(arena_.data());
}

void TrainingStep::load(const FillBatch& fill, int micro) {
  rng_.first_sequence = static_cast<uint64_t>(micro) * static_cast<uint64_t>(settings_.micro_batch);
  fill(tokens_.i32(), targets_.i32(), rng_.first_sequence, settings_.micro_batch);
  graph_.accumulate(micro > 0);
}

StepResult TrainingStep::gradients(const FillBatch& fill) {
  double total = 0;
  for (int micro = 0; micro < settings_.batch / settings_.micro_batch; ++micro) {
    load(fill, micro);
    graph_.forward();
    total += sum(cpu_, losses_.f32(), losses_.shape().elements());
    graph_.backward();
  }
  return {total / (static_cast<double>(settings_.batch) * settings_.context), gradient_norm(cpu_, model_.parameters())};
}

void TrainingStep::update(double gradient_norm, double learning_rate) {
  const AdamWStep step{static_cast<float>(learning_rate), clip_factor(gradient_norm, settings_.grad_clip), rng_.step + 1};
  optimizer_step(cpu_, model_.parameters(), settings_.adamw, step);
  rng_.offset += graph_.dropout_offsets_used();
  rng_.step += 1;
}

std::string TrainingStep::first_not_finite(const FillBatch& fill) {
  for (int micro = 0; micro < settings_.batch / settings_.micro_batch; ++micro) {
    load(fill, micro);
    if (auto name = graph_.find_not_finite()) return *name;
  }
  return "the sum of the gradients";
}

}  // namespace glint
