// The emulated device's streams, events and graphs: queues of work, and when it runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/simt/runtime.h"

using Work = std::function<void()>;

struct CUgraph_st {
  struct Node {
    Work work;
    std::vector<size_t> after;  // nodes that must have run
  };
  std::vector<Node> nodes;
  CUstream_st* origin = nullptr;
  bool invalid = false;  // something was called that is not allowed during capture
};
struct CUgraphExec_st {
  CUgraph_st graph;
};

struct CUevent_st {
  uint64_t recorded = 0, done = 0;  // records enqueued, and reached
  std::chrono::steady_clock::time_point when{};
  CUgraph_st* graph = nullptr;  // recorded last while captured
  std::vector<size_t> after;
};

struct CUstream_st {
  struct Item {
    Work work;
    CUevent_st* wait = nullptr;  // until this event has been reached `ticket` times
    uint64_t ticket = 0;
  };
  bool ready() const {
    return !queue.empty() && (!queue.front().wait || queue.front().wait->done >= queue.front().ticket);
  }

  std::deque<Item> queue;
  CUgraph_st* graph = nullptr;  // being captured
  std::vector<size_t> after;    // the nodes that the next one depends on
};

namespace simt {

inline std::vector<std::unique_ptr<CUstream_st>> streams;

// The clock of events: the host's, and what work claims to have taken.
inline std::chrono::steady_clock::duration claimed{};
inline std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now() + claimed; }

void seed_streams(uint64_t seed);
void push(CUstream_st& stream, CUstream_st::Item item);
// Runs work of any stream, the wanted one as likely as all others together, until done() holds.
void run_until(CUstream_st* wanted, const std::function<bool()>& done);
void run_until_empty(CUstream_st& stream);
void run_all();
void replay(const CUgraph_st& graph);  // in any order that the graph allows
// Whether a stream is being captured; if so, invalidates the capture. For calls that are not allowed during one.
bool breaks_capture();
bool capturing();

}  // namespace simt
