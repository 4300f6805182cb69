#include "kernels/simt/streams.h"

#include <algorithm>
#include <random>
#include <sstream>
#include <string>

#include "kernels/simt/device_memory.h"
#include "kernels/simt/simt.h"

namespace simt {

namespace {

std::mt19937_64 chance;

size_t draw(size_t bound) { return static_cast<size_t>(chance() % bound); }

void run(CUstream_st& stream) {
  const CUstream_st::Item item = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (!item.work) return;
  const Unguarded open;
  item.work();
}

}  // namespace

DeviceOptions device_options(const char* text) {
  DeviceOptions wanted;
  std::istringstream words(text ? text : "");
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const uint64_t value = equals == std::string::npos ? 1 : std::stoull(word.substr(equals + 1));
    if (name == "late") wanted.late = value;
    else if (name == "guarded") wanted.guarded = value;
    else if (name == "seed") wanted.seed = value;
    else if (name == "memory") wanted.memory = value;
    else if (name == "devices") wanted.devices = static_cast<int>(value);
    else if (name == "capability") wanted.capability = static_cast<int>(value);
    else if (name == "multiprocessors") wanted.multiprocessors = static_cast<int>(value);
    else if (name == "no-driver") wanted.driver = false;
    else if (name == "plain-products") wanted.plain_products = true;
    else if (name == "algorithms") wanted.algorithms = static_cast<int>(value);
    else if (name == "fastest") wanted.fastest = static_cast<int>(value);
    else if (name == "slow-epilogues") wanted.slow_epilogues = true;
    else throw Error("SIMT_DEVICE: what is " + word + "?");
  }
  return wanted;
}

void seed_streams(uint64_t seed) { chance.seed(seed); }

void run_until(CUstream_st* wanted, const std::function<bool()>& done) {
  while (!done()) {
    std::vector<CUstream_st*> ready;
    for (const auto& stream : streams)
      if (stream->ready()) ready.push_back(stream.get());
    if (ready.empty()) throw Error("the streams wait for events that nobody records");
    run(wanted && wanted->ready() && draw(2) == 0 ? *wanted : *ready[draw(ready.size())]);
  }
}
void run_until_empty(CUstream_st& stream) {
  run_until(&stream, [&] { return stream.queue.empty(); });
}

void run_all() {
  run_until(nullptr,
            [] { return std::all_of(streams.begin(), streams.end(), [](const auto& s) { return s->queue.empty(); }); });
}

void push(CUstream_st& stream, CUstream_st::Item item) {
  stream.queue.push_back(std::move(item));
  if (!device.late) run_until_empty(stream);
}

void replay(const CUgraph_st& graph) {
  std::vector<size_t> waiting_for(graph.nodes.size());
  std::vector<std::vector<size_t>> before(graph.nodes.size());
  std::vector<size_t> ready;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    waiting_for[i] = graph.nodes[i].after.size();
    for (const size_t node : graph.nodes[i].after) before[node].push_back(i);
    if (waiting_for[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    std::swap(ready[device.late ? draw(ready.size()) : 0], ready.back());
    const size_t node = ready.back();
    ready.pop_back();
    graph.nodes[node].work();
    for (const size_t next : before[node])
      if (--waiting_for[next] == 0) ready.push_back(next);
  }
}

bool capturing() {
  return std::any_of(streams.begin(), streams.end(), [](const auto& stream) { return stream->graph != nullptr; });
}

bool breaks_capture() {
  for (const auto& stream : streams)
    if (stream->graph) stream->graph->invalid = true;
  return capturing();
}

void enqueue(CUstream_st* stream, Work work) {
  ++counts.launches;
  if (!stream) {
    if (capturing()) throw Error("work on the null stream while another is captured");
    run_all();
    const Unguarded open;
    work();
    return;
  }
  if (!stream->graph) return push(*stream, {std::move(work)});
  stream->graph->nodes.push_back({std::move(work), stream->after});
  stream->after = {stream->graph->nodes.size() - 1};
}

}  // namespace simt
