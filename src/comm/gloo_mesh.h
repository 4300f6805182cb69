// Gloo connections between all ranks, and messages over them, for gloo.cpp.
//
// Only send and recv of Gloo's unbound buffers are used: the order of additions in Gloo's collectives depends on an
// element's position. If a connection closes in the middle of a message, Gloo waits forever (libgloo 0.5), and after a
// timeout it closes all connections. So a thread checks the connection and the timeout every 100 ms and ends the wait.
// A rank that fails sends the reason to all others before its connections close. Without a report, the rank was killed
// or the network failed.
#pragma once

#include <gloo/rendezvous/context.h>
#include <gloo/transport/unbound_buffer.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"

namespace glint {

class GlooMesh {
 public:
  GlooMesh(const Ranks& ranks, const GlooOptions& options);
  ~GlooMesh();
  GlooMesh(const GlooMesh&) = delete;
  GlooMesh& operator=(const GlooMesh&) = delete;

  int rank() const { return context_->rank; }
  int size() const { return context_->size; }
  void abort(const std::string& why) noexcept;

  // One round of messages: at most one to and one from each other rank. Their memory must stay valid until the end of
  // the round.
  class Round {
   public:
    explicit Round(GlooMesh& mesh);

    void send(int to, const void* data, size_t bytes);
    void receive(int from, void* data, size_t bytes);
    void wait_receive(int from);  // returns at once if nothing is expected
    void wait_sends();

   private:
    using Buffers = std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>>;  // by rank
    GlooMesh& mesh_;
    const uint64_t slot_;
    Buffers sends_, receives_;
  };

 private:
  using Buffer = gloo::transport::UnboundBuffer;
  // The report that a failing rank sends to all others.
  struct FailureReport {
    int at_fault = 0;
    char why[500] = "";
    std::atomic<bool> failed = false;  // arrives last
  };
  struct Inbox {
    FailureReport report;
    std::unique_ptr<Buffer> buffer;
  };
  struct Wait {
    int peer;
    Buffer* buffer;
    bool outgoing;
    std::chrono::steady_clock::time_point deadline;
  };

  void wait(int peer, Buffer& buffer, bool outgoing);
  void watch();
  bool is_closed(int peer);
  [[noreturn]] void fail(int peer, bool timed_out);
  void send_report(int at_fault, const std::string& why) noexcept;

  static constexpr uint64_t kReportSlot = 0;  // rounds use slots from 1
  const std::chrono::milliseconds timeout_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::vector<Inbox> inboxes_;  // by rank
  FailureReport own_report_;
  std::optional<PeerError> failure_;  // thrown by all further rounds
  uint64_t next_slot_ = 1;
  std::mutex mutex_;  // guards the following members
  std::condition_variable changed_;
  std::optional<Wait> wait_;
  bool timed_out_ = false, closing_ = false;
  std::thread watchdog_;
};

}  // namespace glint
