#include "train/evaluator.h"

#include "kernels/reduce.h"

namespace glint {

Evaluator::Evaluator(Model& model, int batch, int context, AttentionKind attention, int loss_chunk, bool graph)
    : batch_(batch),
      replays_(graph),
      graph_({.device = model.parameters().device(), .dtype = model.parameters().dtype()}),
      input_{static_cast<size_t>(batch) * static_cast<size_t>(context)} {
  const Device& device = graph_.options().device;
  tokens_ = graph_.input("tokens", {batch, context}, DType::i32);
  targets_ = graph_.input("targets", {batch, context}, DType::i32);
  losses_ = model.loss(graph_, tokens_, targets_, attention, 0.0f, loss_chunk);
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "evaluation", device);
  graph_.bind(arena_.data());
  state_memory_ = DeviceMemory(sizeof(State), "the state of evaluation", device);
  state_ = static_cast<State*>(state_memory_.data());
  scratch_ = DeviceMemory(on_device([&](const auto& ctx) { return reduce_scratch(ctx, input_.n); }), "sums", device);
  staging_ = on_device([&](const auto& ctx) { return make_staging(ctx, input_.bytes()); });
}

void Evaluator::enqueue(size_t counted) {
  on_device([&](const auto& ctx) {
    begin_micro_batch(ctx, &state_->step, tokens_.i32(), targets_.i32(), {staging_->slots(), input_, 0, input_.n, 0});
    graph_.forward();
    sum(ctx, &state_->sums[1], losses_.f32(), counted, scratch_.data());
    sum(ctx, state_->sums, state_->sums, 2);
    advance(ctx, &state_->step, 0);
  });
}

void Evaluator::add(const std::function<size_t(int32_t*, int32_t*)>& fill) {
  const int slot = static_cast<int>(batches_ % 2);
  const StepInput input = input_.at(staging_->host(slot));
  *input.learning_rate = 0;
  const size_t counted = fill(input.tokens, input.targets);
  staging_->upload(slot);
  // The first batch runs without a graph, as in training; so does one that is not full.
  if (replays_ && batches_ > 0 && counted == input_.n) {
    if (!replay_) replay_ = on_device([&](const auto& ctx) { return capture(ctx, [this] { enqueue(input_.n); }); });
    replay_();
  } else {
    enqueue(counted);
  }
  staging_->release(slot);
  batches_ += 1;
}

double Evaluator::take_sum() {
  double result = 0;
  const double zero = 0;
  on_device([&](const auto& ctx) {
    copy_to_host(ctx, &result, state_->sums, sizeof result);
    copy_to_device(ctx, state_->sums, &zero, sizeof zero);
  });
  return result;
}

double Evaluator::mean_loss(const FillBatch& fill, int64_t batches, Communicator* comm) {
  double sums[] = {0, 0};  // of the losses, and their count
  for (int64_t i = comm ? comm->rank() : 0; i < batches; i += comm ? comm->size() : 1) {
    add([&](int32_t* tokens, int32_t* targets) {
      fill(tokens, targets, static_cast<uint64_t>(i) * static_cast<uint64_t>(batch_), batch_);
      return input_.n;
    });
    sums[1] += static_cast<double>(input_.n);
  }
  sums[0] = take_sum();
  if (comm) comm->all_reduce(std::span<double>(sums));
  return sums[0] / sums[1];
}

}  // namespace glint
