#include "train/evaluator.h"

#include "kernels/reduce.h"

namespace glint {

Evaluator::Evaluator(Gpt& model, const CpuContext& cpu, int batch, int context, AttentionKind attention)
    : batch_(batch), graph_({.cpu = cpu}) {
  tokens_ = graph_.input("tokens", {batch, context}, DType::i32);
  targets_ = graph_.input("targets", {batch, context}, DType::i32);
  losses_ = cross_entropy(graph_, model.head(graph_, model.hidden(graph_, tokens_, attention)), targets_, 0.0f);
  graph_.keep(losses_);
  arena_ = DeviceMemory(graph_.plan(), "evaluation");
  graph_.bind(arena_.data());
}

std::span<const float> Evaluator::losses(const std::function<void(int32_t*, int32_t*)>& fill) {
  fill(tokens_.i32(), targets_.i32());
  graph_.forward();
  return {losses_.f32(), losses_.shape().elements()};
}

double Evaluator::mean_loss(const FillBatch& fill, int batches) {
  double total = 0;
  size_t count = 0;
  for (int i = 0; i < batches; ++i) {
    const auto rows = losses([&](int32_t* tokens, int32_t* targets) {
      fill(tokens, targets, static_cast<uint64_t>(i) * static_cast<uint64_t>(batch_), batch_);
    });
    total += sum(graph_.cpu(), rows.data(), rows.size());
    count += rows.size();
  }
  return total / static_cast<double>(count);
}

}  // namespace glint
