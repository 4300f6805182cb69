#include "train/training_step.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/reduce.h"

namespace glint {

StepSettings step_settings(const TrainOptions& o, Team& team) {
  AdamW adamw;
  adamw.beta1 = static_cast<float>(o.beta1);
  adamw.beta2 = static_cast<float>(o.beta2);
  adamw.eps = static_cast<float>(o.eps);
  adamw.weight_decay = static_cast<float>(o.weight_decay);
  const PartitionSettings partition{static_cast<size_t>(o.bucket_mb * (1 << 20)), o.zero == 1,
                                    dtype_of(o.optimizer_dtype), o.optimizer == Optimizer::muon};
  return {.batch = o.batch,
          .micro_batch = o.micro_batch,
          .context = o.model.context,
          .attention = o.attention,
          .recompute = o.recompute,
          .adamw = adamw,
          .grad_clip = o.grad_clip,
          .graph = o.graph,
          .comm = team.size() > 1 ? &team.comm() : nullptr,
          .partition = partition,
          .loss_chunk = o.loss_chunk,
          .muon = {static_cast<float>(o.muon_momentum)}};
}

bool StepResult::finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }

TrainingStep::TrainingStep(Model& model, const StepSettings& settings, const RngState& rng)
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
              .recompute = settings.recompute,
              .dropout_variant = settings.dropout_variant}),
      input_{static_cast<size_t>(sequences()) * static_cast<size_t>(settings.context)} {
  GLINT_CHECK(sequences() * ranks() == settings.batch && sequences() % settings.micro_batch == 0, "batch ",
              settings.batch, ", ", ranks(), " ranks, micro-batch ", settings.micro_batch);
  const Device& device = model.parameters().device();
  model.parameters().allocate_training(partition_.kept, partition_.kept - partition_.muon_kept, partition_.moments);
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
  losses_ = model.loss(graph_, tokens_, targets_, settings.attention,
                       1.0f / (static_cast<float>(settings.batch) * static_cast<float>(T)), settings.loss_chunk);
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "activations and their gradients", device);
  graph_.bind(arena_.data());
  if (settings.comm)
    exchange_ = std::make_unique<GradientExchange>(graph_, model.parameters(), partition_, *settings.comm);
  staging_ = on_device([&](const auto& ctx) { return make_staging(ctx, input_.bytes()); });
}

void TrainingStep::restore(const RngState& rng) {
  rng_ = rng;
  rng_on_device_ = false;
}

void TrainingStep::upload(const FillBatch& fill, double learning_rate) {
  if (!rng_on_device_) {
    const StepState state{rng_, {}, 0};
    on_device([&](const auto& ctx) { copy_to_device(ctx, state_, &state, sizeof state); });
    rng_on_device_ = true;
  }
  const int slot = static_cast<int>(rng_.step % 2);
  const StepInput input = input_.at(staging_->host(slot));
  *input.learning_rate = static_cast<float>(learning_rate);
  fill(input.tokens, input.targets, static_cast<uint64_t>(first_sequence()), sequences());
  staging_->upload(slot);
}

void TrainingStep::load_micro_batch(int micro) {
  const size_t n = static_cast<size_t>(settings_.micro_batch) * static_cast<size_t>(settings_.context);
  const auto number = static_cast<size_t>(micro);
  const MicroBatch batch{staging_->slots(), input_, number * n, n,
                         static_cast<uint64_t>(first_sequence()) + number * static_cast<size_t>(settings_.micro_batch)};
  on_device([&](const auto& ctx) { begin_micro_batch(ctx, state_, tokens_.i32(), targets_.i32(), batch); });
  graph_.accumulate(micro > 0);
}

void TrainingStep::warm_up(const FillBatch& fill) {
  upload(fill, 0);
  for (int micro = 0; micro < std::min(2, micro_batches()); ++micro) {
    load_micro_batch(micro);
    graph_.forward();
    graph_.backward();
  }
  orthogonalize_own(model_.parameters(), partition_, scratch_);
  staging_->release(static_cast<int>(rng_.step % 2));
}

void TrainingStep::enqueue() {
  const size_t rows = losses_.shape().elements();
  for (int micro = 0; micro < micro_batches(); ++micro) {
    load_micro_batch(micro);
    graph_.forward();
    on_device([&](const auto& ctx) { sum(ctx, micro_losses_ + micro, losses_.f32(), rows, scratch_); });
    // Gradients are already those of the mean over the whole batch; losses are sums over tokens.
    if (exchange_) exchange_->set_gradient_sync(micro + 1 == micro_batches());
    graph_.backward();
  }
  if (exchange_) {
    exchange_->sum_and_join(micro_losses_, static_cast<size_t>(micro_batches()));
    exchange_->set_gradient_sync(false);
  }
  const auto update = [&] {
    optimizer_step(model_.parameters(), partition_, exchange_.get(), settings_.adamw, settings_.muon,
                   settings_.grad_clip, state_, scratch_);
    on_device([&](const auto& ctx) { advance(ctx, state_, graph_.dropout_offsets_used()); });
  };
  if (profiling_) {
    optimizer_.seconds += on_device([&](const auto& ctx) { return measure_seconds(ctx, update); });
    optimizer_.bytes += static_cast<double>(optimizer_traffic(model_.parameters(), partition_));
  } else {
    update();
  }
}

void TrainingStep::run(const FillBatch& fill, double learning_rate) {
  upload(fill, learning_rate);
  // The first step runs without a graph: libraries choose and load their kernels in it, which a capture must not
  // contain.
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
  if (exchange_) exchange_->check();  // another rank may have failed
  if (std::exchange(replayed_, false)) {
    if (exchange_) exchange_->count_replay();
    timed_steps_ += 1;
  }
  return {total / (static_cast<double>(settings_.batch) * settings_.context), std::sqrt(state.gradient_squares),
          state.rng.step};
}

std::string TrainingStep::find_nonfinite(const FillBatch& fill) {
  StepState state;
  on_device([&](const auto& ctx) { copy_to_host(ctx, &state, state_, sizeof state); });
  state.rng.first_sequence = 0;
  restore(state.rng);
  upload(fill, 0);
  for (int micro = 0; micro < micro_batches(); ++micro) {
    load_micro_batch(micro);
    if (auto name = graph_.find_nonfinite()) return *name;
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
  profile[partition_.muon > 0 ? "muon and adamw" : "adamw"] = optimizer_;
  if (exchange_)
    profile["waiting for ranks"] = {exchanged().waited - profiled_from_.waited, 0,
                                    exchanged().bytes - profiled_from_.bytes};
  return profile;
}

std::string find_nonfinite(TrainingStep& step, const FillBatch& fill, Team& team) {
  const std::string here = step.find_nonfinite(fill);
  if (team.size() == 1) return here;
  const std::string found = team.first_text(here == kSumOfGradients ? "" : str_cat(here, " on rank ", team.rank()));
  return found.empty() ? here : found;
}

}  // namespace glint
