#include "train/evaluator.h"

#include "kernels/reduce.h"

namespace glint {

Evaluator::Evaluator(Model& model, int batch, int context, AttentionKind attention, int loss_chunk)
    : batch_(batch), graph_({.device = model.parameters().device(), .dtype = model.parameters().dtype()}) {
  tokens_ = graph_.input("tokens", {batch, context}, DType::i32);
  targets_ = graph_.input("targets", {batch, context}, DType::i32);
  losses_ = model.loss(graph_, tokens_, targets_, attention, 0.0f, loss_chunk);
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "evaluation", model.parameters().device());
  graph_.bind(arena_.data());
  host_tokens_.resize(losses_.shape().elements());
  host_targets_.resize(losses_.shape().elements());
  host_losses_.resize(losses_.shape().elements());
}

std::span<const float> Evaluator::losses(const std::function<void(int32_t*, int32_t*)>& fill) {
  fill(host_tokens_.data(), host_targets_.data());
  const size_t bytes = host_tokens_.size() * sizeof(int32_t);
  std::visit(
      [&](const auto& ctx) {
        copy_to_device(ctx, tokens_.i32(), host_tokens_.data(), bytes);
        copy_to_device(ctx, targets_.i32(), host_targets_.data(), bytes);
        graph_.forward();
        copy_to_host(ctx, host_losses_.data(), losses_.f32(), host_losses_.size() * sizeof(float));
      },
      graph_.options().device.context());
  return host_losses_;
}

double Evaluator::mean_loss(const FillBatch& fill, int batches, Communicator* comm) {
  double sums[] = {0, 0};  // of the losses, and their count
  for (int i = comm ? comm->rank() : 0; i < batches; i += comm ? comm->size() : 1) {
    const auto rows = losses([&](int32_t* tokens, int32_t* targets) {
      fill(tokens, targets, static_cast<uint64_t>(i) * static_cast<uint64_t>(batch_), batch_);
    });
    sums[0] += sum(CpuContext{}, rows.data(), rows.size());
    sums[1] += static_cast<double>(rows.size());
  }
  if (comm) comm->all_reduce(std::span<double>(sums));
  return sums[0] / sums[1];
}

}  // namespace glint
