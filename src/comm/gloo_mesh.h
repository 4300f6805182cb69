// Connections between all ranks by Gloo, and messages over them, for gloo.cpp.
//
// Gloo's own collectives add in an order that depends on an element's position; here are only its unbound buffers' send
// and recv. A rank that fails sends the reason to all others before its connections close, so that they can tell a
// failure that the rank has reported from one that it could not (it was killed, or the network broke).
#pragma once

#include <gloo/rendezvous/context.h>
#include <gloo/transport/unbound_buffer.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"

namespace glint {

class GlooMesh {
 public:
  GlooMesh(const Ranks& ranks, const GlooOptions& options);

  int rank() const { return context_->rank; }
  int size() const { return context_->size; }
  void abort(const std::string& why) noexcept;

  // One round of messages: at most one to and one from each other rank. Their memory must live until the round's end.
  class Round {
   public:
    explicit Round(GlooMesh& mesh)
        : mesh_(mesh), slot_(mesh.next_slot_++), sends_(mesh.size()), receives_(mesh.size()) {}

    void send(int to, const void* data, size_t bytes);
    void receive(int from, void* data, size_t bytes);
    void wait_receive(int from);  // returns at once where nothing is to be received
    void wait_sends();

   private:
    using Buffers = std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>>;  // by rank
    GlooMesh& mesh_;
    const uint64_t slot_;
    Buffers sends_, receives_;
  };

 private:
  // What a rank sends to each other one when it fails. All zero: nothing was received.
  struct FailureReport {
    int at_fault = 0;
    bool failed = false;
    char why[500] = "";
  };
  struct Inbox {
    FailureReport report;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer;
  };

  template <typename Call>
  void guarded(int peer, const Call& call);
  [[noreturn]] void fail(int peer, bool timed_out);
  void send_report(int at_fault, const std::string& why) noexcept;

  static constexpr uint64_t kReportSlot = 0;  // rounds have those from 1
  const std::chrono::milliseconds timeout_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::vector<Inbox> inboxes_;  // by rank
  FailureReport own_report_;
  uint64_t next_slot_ = 1;
};

}  // namespace glint
