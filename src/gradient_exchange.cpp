#include "src/gradient_exchange.h"

namespace glint {

GradientExchange::GradientExchange(Graph& graph, const Parameters& parameters, const Partition& partition,
                                   Communicator& comm)
    : parameters_(parameters),
      partition_(partition),
      queue_(parameters.device().visit([&](const auto& ctx) { return make_collective_queue(ctx, comm); })) {
  for (const Bucket& bucket : partition.buckets) {
    std::vector<const Parameter*> inside;
    for (const Parameter& parameter : parameters.all())
      if (parameter.offset < bucket.end && parameter.offset + parameter.shape.elements() > bucket.begin)
        inside.push_back(&parameter);
    graph.on_gradient_ready(inside, [this, bucket] {
      if (sync_) sum(bucket);
    });
  }
}

void GradientExchange::sum(const Bucket& bucket) {
  float* gradients = parameters_.gradients() + bucket.begin;
  if (partition_.sharded) queue_->reduce_scatter(gradients, bucket.size());
  else queue_->all_reduce(gradients, bucket.size());
}

void GradientExchange::sum_gradients(size_t end) {
  for (const Bucket& bucket : partition_.buckets)
    if (bucket.end <= end) sum(bucket);
  queue_->join();
}

void GradientExchange::gather_gradients(size_t end) {
  for (const Bucket& bucket : partition_.buckets)
    if (bucket.end <= end) queue_->all_gather(parameters_.gradients() + bucket.begin, bucket.size());
  queue_->join();
}

void GradientExchange::sum_and_join(double* sums, size_t n) {
  queue_->all_reduce(sums, n);
  queue_->join();
}

void GradientExchange::gather(const Parameters& p) {
  if (!partition_.sharded) return;
  for (const Bucket& bucket : partition_.buckets) {
    if (p.rounded()) queue_->all_gather(p.rounded() + bucket.begin, bucket.size());
    if (!p.masters() || bucket.begin >= p.decayed_elements())
      queue_->all_gather(p.value_at(bucket.begin), bucket.size());
  }
  queue_->join();
}

}  // namespace glint
