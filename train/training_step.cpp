#include "train/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/reduce.h"

namespace glint {

bool StepResult::finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }

TrainingStep::TrainingStep(Gpt& model, const StepSettings& settings, RngState& rng)
    : model_(model),
      settings_(settings),
      rng_(rng),
      partition_(
          partition_of(model.parameters(), settings.comm ? settings.comm->rank() : 0, ranks(), settings.partition)),
      graph_({.device = model.parameters().device(),
              .dtype = model.parameters().dtype(),
              .training = true,
              .rng = nullptr,
              .global_batch = settings.batch,
              .recompute = settings.recompute}),
      layout_{static_cast<size_t>(sequences()) * static_cast<size_t>(settings.context)} {
  GLINT_CHECK(sequences() * ranks() == settings.batch && sequences() % settings.micro_batch == 0, "batch ",
              settings.batch, ", ", ranks(), " ranks, micro-batch ", settings.micro_batch);
  const Device& device = model.parameters().device();
  model.parameters().allocate_training(partition_.kept);
  if (partition_.sharded && model.parameters().rounded()) keep_own_masters(model.parameters(), partition_);

  const int B = settings.micro_batch, T = settings.context;
  const size_t losses_bytes = static_cast<size_t>(micro_batches()) * sizeof(double), state_bytes = 256;
  const size_t scratch_bytes = std::max(
      optimizer_scratch(model.parameters(), partition_),
      on_device([&](const auto& ctx) { return reduce_scratch(ctx, static_cast<size_t>(B) * static_cast<size_t>(T)); }));
  static_assert(sizeof(StepState) <= state_bytes);
  const size_t scratch_at = state_bytes + (losses_bytes + 255) / 256 * 256;
  state_memory_ = DeviceMemory(scratch_at + scratch_bytes, "the state of the step", device);
  char* base = static_cast<char*>(state_memory_.data());
  state_ = reinterpret_cast<StepState*>(base);
  micro_losses_ = reinterpret_cast<double*>(base + state_bytes);
  scratch_ = base + scratch_at;

  graph_.set_rng(&state_->rng);
  tokens_ = graph_.input("tokens", {B, T}, DType::i32);
  targets_ = graph_.input("targets", {B, T}, DType::i32);
  const Tensor logits = model.head(graph_, model.hidden(graph_, tokens_, settings.attention));
  losses_ =
      cross_entropy(graph_, logits, targets_, 1.0f / (static_cast<float>(settings.batch) * static_cast<float>(T)));
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "activations and their gradients", device);
  graph_.bind(arena_.data());
  if (settings.comm)
    exchange_ = std::make_unique<GradientExchange>(graph_, model.parameters(), partition_, *settings.comm);
  staging_ = on_device([&](const auto& ctx) { return make_staging(ctx, layout_.words()); });
}

void TrainingStep::upload(const FillBatch& fill, double learning_rate) {
  if (!ran_ || on_device_ != rng_) {
    const StepState state{rng_, {}, 0};
    on_device([&](const auto& ctx) { copy_to_device(ctx, state_, &state, sizeof state); });
  }
  const int slot = static_cast<int>(rng_.step % 2);
  int32_t* words = staging_->host(slot);
  const float rate = static_cast<float>(learning_rate);
  std::memcpy(words, &rate, sizeof rate);
  fill(words + StagedBatch::kTokensAt, words + layout_.targets_at(), static_cast<uint64_t>(first_sequence()),
       sequences());
  staging_->upload(slot);
}

// The graph's input of one micro-batch.
void TrainingStep::load_micro_batch(int micro) {
  const size_t n = static_cast<size_t>(settings_.micro_batch) * static_cast<size_t>(settings_.context);
  const auto number = static_cast<size_t>(micro);
  const MicroBatch batch{staging_->slots(), layout_, number * n, n,
                         static_cast<uint64_t>(first_sequence()) + number * static_cast<size_t>(settings_.micro_batch)};
  on_device([&](const auto& ctx) { begin_micro_batch(ctx, state_, tokens_.i32(), targets_.i32(), batch); });
  graph_.accumulate(micro > 0);
}

void TrainingStep::enqueue() {
  const size_t rows = losses_.shape().elements();
  for (int micro = 0; micro < micro_batches(); ++micro) {
    load_micro_batch(micro);
    graph_.forward();
    on_device([&](const auto& ctx) { sum(ctx, micro_losses_ + micro, losses_.f32(), rows, scratch_); });
    // Every rank's gradients are of the mean over the whole batch already; losses are sums over tokens.
    if (exchange_) exchange_->set_gradient_sync(micro + 1 == micro_batches());
    graph_.backward();
  }
  if (exchange_) {
    exchange_->finish(micro_losses_, static_cast<size_t>(micro_batches()));
    exchange_->set_gradient_sync(false);
  }
  const auto update = [&] {
    optimizer_step(model_.parameters(), partition_, exchange_.get(), settings_.adamw, settings_.grad_clip, state_,
                   scratch_);
    on_device([&](const auto& ctx) { advance(ctx, state_, graph_.dropout_offsets_used()); });
  };
  if (profiling_) {
    optimizer_.seconds += on_device([&](const auto& ctx) { return seconds_of(ctx, update); });
    // Gradient (twice: its norm), weight and moments are read, all but the gradient written; then the rounded copy.
    optimizer_.bytes +=
        static_cast<double>(partition_.kept) * (8 * 4 + (model_.parameters().dtype() == DType::bf16 ? 2 : 0));
  } else {
    update();
  }
}

void TrainingStep::run(const FillBatch& fill, double learning_rate) {
  upload(fill, learning_rate);
  // The first step runs plainly: libraries then choose their kernels and load them, which does not belong into a graph.
  if (ran_ && settings_.graph && !profiling_) {
    if (!replay_) replay_ = on_device([&](const auto& ctx) { return capture(ctx, [this] { enqueue(); }); });
    replay_();
    if (exchange_) exchange_->begin_replay();
    replayed_ = true;
  } else {
    enqueue();
    replayed_ = false;
    timed_steps_ += 1;
  }
  staging_->release(static_cast<int>(rng_.step % 2));
  rng_.offset += graph_.dropout_offsets_used();
  rng_.step += 1;
  on_device_ = rng_;
  ran_ = true;
}

StepResult TrainingStep::result() {
  StepState state;
  double total = 0;
  on_device([&](const auto& ctx) {
    copy_to_host(ctx, &state, state_, sizeof state);
    for (int micro = 0; micro < micro_batches(); ++micro) {
      double loss = 0;
      copy_to_host(ctx, &loss, micro_losses_ + micro, sizeof loss);
      total += loss;
    }
  });
  if (exchange_) exchange_->check();  // a GPU's work may have been cut short by another rank's end
  if (std::exchange(replayed_, false)) {
    if (exchange_) exchange_->count_replay();
    timed_steps_ += 1;
  }
  return {total / (static_cast<double>(settings_.batch) * settings_.context), std::sqrt(state.gradient_squares),
          state.rng.step};
}

std::string TrainingStep::first_not_finite(const FillBatch& fill) {
  StepState state;
  on_device([&](const auto& ctx) { copy_to_host(ctx, &state, state_, sizeof state); });
  rng_ = state.rng;
  rng_.first_sequence = 0;
  upload(fill, 0);
  for (int micro = 0; micro < micro_batches(); ++micro) {
    load_micro_batch(micro);
    if (auto name = graph_.find_not_finite()) return *name;
  }
  return kSumOfGradients;
}

void TrainingStep::profile(bool on) {
  profiling_ = on;
  optimizer_ = {};
  profiled_from_ = exchanged();
  graph_.profile(on);
}

Profile TrainingStep::profiled() const {
  Profile profile = graph_.profiled();
  profile["adamw"] = optimizer_;
  if (exchange_)
    profile["waiting for ranks"] = {exchanged().waited - profiled_from_.waited, 0,
                                    exchanged().bytes - profiled_from_.bytes};
  return profile;
}

}  // namespace glint
