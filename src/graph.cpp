// Planning and replay. (Recording: graph_record.cpp.)
#include "src/graph.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace glint {

void Graph::schedule_backward() {
  // A segment is recomputed just before its backward, but only the nodes that its backward needs. The last segment is
  // not recomputed: nothing between its forward and its backward could use the memory.
  std::set<int> recomputed = {-1, segments_};
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    if (options_.recompute && recomputed.insert(node->segment).second) {
      std::unordered_set<const Buffer*> read;
      for (const Node& other : nodes_)
        if (other.segment == node->segment)
          for (Tensor saved : other.saved) read.insert(saved.record()->value);
      std::vector<Scheduled> again;
      for (auto other = nodes_.rbegin(); other != nodes_.rend(); ++other) {
        if (other->segment != node->segment) continue;
        bool needed = false;
        for (const auto* changed : {&other->outputs, &other->updated})
          for (Tensor out : *changed) needed |= read.contains(out.record()->value);
        if (!needed) continue;
        for (Tensor in : other->inputs)
          if (in) read.insert(in.record()->value);
        again.push_back({&*other, false});
      }
      schedule_.insert(schedule_.end(), again.rbegin(), again.rend());
    }
    if (node->backward) schedule_.push_back({&*node, true});
  }
}

void Graph::mark_first_sinks() {
  std::unordered_set<const Buffer*> written;
  const auto mark = [&](const std::vector<GradientSink>& sinks) {
    for (const GradientSink& sink : sinks)
      if (sink) sink.state_->first = written.insert(sink.state_->buffer).second;
  };
  for (const Node& node : nodes_) mark(node.forward_sinks);
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) mark(node->sinks);
}

std::vector<std::vector<Access>> Graph::accesses() const {
  std::unordered_map<const Buffer*, int> index;
  for (const Buffer& buffer : buffers_) index.emplace(&buffer, static_cast<int>(index.size()));
  std::vector<std::vector<Access>> steps;
  const auto add = [&](const Buffer* buffer, AccessMode mode) {
    if (buffer && !buffer->outside) steps.back().push_back({index.at(buffer), mode});
  };
  const auto add_all = [&](const std::vector<Tensor>& tensors, AccessMode mode) {
    for (Tensor tensor : tensors)
      if (tensor) add(tensor.record()->value, mode);
  };
  const auto add_sinks = [&](const std::vector<GradientSink>& sinks) {
    for (const GradientSink& sink : sinks)
      if (sink) add(sink.state_->buffer, sink.state_->first ? AccessMode::write : AccessMode::update);
  };
  steps.emplace_back();
  add_all(inputs_, AccessMode::write);
  for (const auto& [node, backward] : schedule_) {
    steps.emplace_back();
    if (!backward) {
      add_all(node->inputs, AccessMode::read);
      add_all(node->outputs, AccessMode::write);
      add_all(node->updated, AccessMode::update);
      add_sinks(node->forward_sinks);
      add_all({node->scratch}, AccessMode::write);
      continue;
    }
    add_all(node->saved, AccessMode::read);
    for (Tensor out : node->outputs) add(out.record()->gradient, AccessMode::read);
    add_sinks(node->sinks);
    add_all({node->backward_scratch}, AccessMode::write);
  }
  steps.emplace_back();
  add_all(inputs_, AccessMode::read);  // so that a replay can be repeated without refilling them
  add_all(kept_, AccessMode::read);
  return steps;
}

size_t Graph::plan() {
  GLINT_CHECK(schedule_.empty(), "the graph is already planned");
  for (const Node& node : nodes_) schedule_.push_back({&node, false});
  forward_steps_ = schedule_.size();
  if (options_.training) {
    mark_first_sinks();
    schedule_backward();
  }
  after_.resize(schedule_.size());
  const auto ranges = live_ranges(accesses(), buffers_.size());
  std::vector<PlannedBuffer> planned(buffers_.size());
  for (size_t i = 0; i < buffers_.size(); ++i) planned[i] = {buffers_[i].bytes, ranges[i], 0};
  const size_t arena = plan_arena(planned);
  for (size_t i = 0; i < buffers_.size(); ++i)
    if (!buffers_[i].outside) planned_.emplace_back(&buffers_[i], planned[i].offset);
  return arena;
}

ArenaPlan Graph::arena_plan() const {
  GLINT_CHECK(!schedule_.empty(), "plan() comes first");
  std::unordered_set<const Buffer*> gradients, scratch;
  for (const TensorRecord& tensor : tensors_)
    if (tensor.gradient && tensor.gradient != tensor.value) gradients.insert(tensor.gradient);
  for (const Node& node : nodes_)
    for (Tensor space : {node.scratch, node.backward_scratch})
      if (space) scratch.insert(space.record()->value);
  ArenaPlan plan{{"inputs"}, 1 + forward_steps_, {}};
  for (size_t i = 0; i < schedule_.size(); ++i) plan.steps.push_back(profiled_name(i));
  plan.steps.emplace_back("results");
  const auto ranges = live_ranges(accesses(), buffers_.size());
  std::unordered_map<const Buffer*, size_t> index;
  for (const Buffer& buffer : buffers_) index.emplace(&buffer, index.size());
  for (const auto& [buffer, offset] : planned_) {
    using Use = ArenaBuffer::Use;
    const Use use = scratch.contains(buffer) ? Use::scratch : gradients.contains(buffer) ? Use::gradient : Use::value;
    plan.buffers.push_back({buffer->name, use, {buffer->bytes, ranges[index.at(buffer)], offset}});
  }
  return plan;
}

void Graph::on_gradient_ready(const std::vector<const Parameter*>& parameters, Step call) {
  GLINT_CHECK(!schedule_.empty(), "plan() comes first");
  std::unordered_set<const Buffer*> gradients;
  for (const Parameter* parameter : parameters) gradients.insert(&parameter->gradient);
  size_t last = forward_steps_;  // without sinks in backward: after its first step
  for (size_t i = forward_steps_; i < schedule_.size(); ++i)
    for (const GradientSink& sink : schedule_[i].node->sinks)
      if (schedule_[i].backward && sink && gradients.contains(sink.state_->buffer)) last = i;
  add_after(last, std::move(call));
}

void Graph::after_backward_of(const std::string& name, const std::function<void(const Node&)>& call) {
  GLINT_CHECK(!schedule_.empty(), "plan() comes first");
  for (size_t i = forward_steps_; i < schedule_.size(); ++i)
    if (schedule_[i].backward && schedule_[i].node->name == name)
      add_after(i, [call, node = schedule_[i].node] { call(*node); });
}

void Graph::add_after(size_t i, Step call) {
  Step& after = after_[i];
  after = after ? [first = std::move(after), call] { first(), call(); } : std::move(call);
}

void Graph::bind(void* arena) {
  GLINT_CHECK(!schedule_.empty(), "plan() comes first");
  for (auto& [buffer, offset] : planned_) buffer->data = static_cast<char*>(arena) + offset;
}

void Graph::replay(size_t begin, size_t end) {
  if (!profiling_) {
    for (size_t i = begin; i < end; ++i) {
      (schedule_[i].backward ? schedule_[i].node->backward : schedule_[i].node->forward)();
      if (after_[i]) after_[i]();
    }
    return;
  }
  std::vector<Step> work;
  for (size_t i = begin; i < end; ++i) {
    const Step& step = schedule_[i].backward ? schedule_[i].node->backward : schedule_[i].node->forward;
    work.push_back(!after_[i] ? step : [&step, &after = after_[i]] { step(), after(); });
  }
  const auto seconds = options_.device.visit([&](const auto& ctx) { return measure_seconds_of_each(ctx, work); });
  for (size_t i = begin; i < end; ++i) {
    OpStats& stats = profile_[profiled_name(i)];
    stats.seconds += seconds[i - begin];
    add_work(stats, i);
  }
}

void Graph::profile(bool on) {
  profiling_ = on;
  if (on) count_bytes();
}

Profile Graph::work() {
  GLINT_CHECK(!schedule_.empty(), "plan() comes first");
  count_bytes();
  Profile work;
  for (size_t i = 0; i < schedule_.size(); ++i) add_work(work[profiled_name(i)], i);
  return work;
}

std::string Graph::profiled_name(size_t i) const {
  return schedule_[i].node->name + (schedule_[i].backward ? " backward" : i >= forward_steps_ ? " recompute" : "");
}

void Graph::add_work(OpStats& stats, size_t i) const {
  stats.flops += schedule_[i].backward ? schedule_[i].node->backward_flops : schedule_[i].node->flops;
  stats.bytes += bytes_[i];
}

void Graph::count_bytes() {
  if (!bytes_.empty()) return;
  const auto steps = accesses();
  for (size_t i = 0; i < schedule_.size(); ++i) {
    std::map<int, AccessMode> touched;
    for (const auto& [buffer, mode] : steps[i + 1]) {  // the inputs are written before
      const auto [at, first] = touched.try_emplace(buffer, mode);
      if (!first && at->second != mode) at->second = AccessMode::update;
    }
    double bytes = 0;
    for (const auto& [buffer, mode] : touched) {
      const auto once = static_cast<double>(buffers_[static_cast<size_t>(buffer)].bytes);
      bytes += mode == AccessMode::update ? 2 * once : once;
    }
    const bool given = !schedule_[i].backward && schedule_[i].node->forward_bytes > 0;
    bytes_.push_back(given ? schedule_[i].node->forward_bytes : bytes);
  }
}

void Graph::forward() { replay(0, forward_steps_); }
void Graph::backward() { replay(forward_steps_, schedule_.size()); }

std::optional<std::string> Graph::nonfinite_in(const Scheduled& step) const {
  if (!step.backward) {
    for (const auto* list : {&step.node->outputs, &step.node->updated})
      for (Tensor out : *list)
        if (!finite(out.record()->value->data, out.record()->dtype, out.shape().elements())) return out.name();
  }
  for (const GradientSink& sink : step.backward ? step.node->sinks : step.node->forward_sinks)
    if (sink && !finite(sink.data(), sink.state_->dtype, sink.state_->elements)) return sink.state_->name;
  return std::nullopt;
}

// Slow: checks a copy of the values. For a run that has failed.
bool Graph::finite(const void* data, DType dtype, size_t n) const {
  if (!data || dtype == DType::i32) return true;
  std::vector<char> copy(n * bytes_of(dtype));
  options_.device.visit([&](const auto& ctx) { copy_to_host(ctx, copy.data(), data, copy.size()); });
  const auto all_finite = [&]<typename Scalar>(const Scalar* values) {
    return std::all_of(values, values + n, [](Scalar value) { return std::isfinite(to_float(value)); });
  };
  return dtype == DType::bf16 ? all_finite(reinterpret_cast<const Bf16*>(copy.data()))
                              : all_finite(reinterpret_cast<const float*>(copy.data()));
}

std::optional<std::string> Graph::find_nonfinite() {
  for (const auto& [parameter, tensor] : parameters_) {
    if (!finite(tensor.f32(), DType::f32, tensor.shape().elements())) return "parameter " + tensor.name();
  }
  for (size_t i = 0; i < schedule_.size(); ++i) {
    replay(i, i + 1);
    if (auto name = nonfinite_in(schedule_[i])) return name;
  }
  return std::nullopt;
}

}  // namespace glint
