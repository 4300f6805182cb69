#include "src/comm/gloo_mesh.h"

#include <cstring>

#include "src/comm/gloo_rendezvous.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;

// How long a report may take to be sent: a dead or stopped rank never takes it.
constexpr auto kReporting = std::chrono::milliseconds(200);

}  // namespace

GlooMesh::GlooMesh(const Ranks& ranks, const GlooOptions& options)
    : timeout_(options.timeout), context_(rendezvous(ranks, options)), inboxes_(static_cast<size_t>(ranks.size)) {
  context_->setTimeout(timeout_);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    Inbox& inbox = inboxes_[static_cast<size_t>(peer)];
    inbox.buffer = context_->createUnboundBuffer(&inbox.report, sizeof inbox.report);
    guarded(peer, [&] { inbox.buffer->recv(peer, kReportSlot); });
  }
}

void GlooMesh::abort(const std::string& why) noexcept { send_report(rank(), why); }

template <typename Call>
void GlooMesh::guarded(int peer, const Call& call) {
  const auto start = Clock::now();
  try {
    call();
  } catch (const std::exception&) {
    fail(peer, Clock::now() - start >= timeout_);
  }
}

void GlooMesh::fail(int peer, bool timed_out) {
  if (timed_out) {  // Gloo has closed all connections
    const double seconds = static_cast<double>(timeout_.count()) / 1000;
    throw PeerError(peer, str_cat("rank ", peer, " hangs: nothing came from it for ", seconds, " s (--comm-timeout)"));
  }
  const Inbox& inbox = inboxes_[static_cast<size_t>(peer)];
  bool reported = false;
  try {
    reported = inbox.buffer && inbox.buffer->waitRecv(nullptr, kReporting);
  } catch (const std::exception&) {  // the connection closed without a report
  }
  if (!reported || !inbox.report.failed) {
    const std::string line = str_cat("rank ", peer, " is gone: its process died, or the network dropped it");
    send_report(peer, line);
    throw PeerError(peer, line);
  }
  const int at_fault = inbox.report.at_fault;
  const std::string why(inbox.report.why, strnlen(inbox.report.why, sizeof inbox.report.why));
  send_report(at_fault, why);
  throw PeerError(at_fault, at_fault == peer ? str_cat("rank ", peer, " failed: ", why) : why, at_fault == peer);
}

void GlooMesh::send_report(int at_fault, const std::string& why) noexcept {
  own_report_.failed = true;
  own_report_.at_fault = at_fault;
  std::strncpy(own_report_.why, why.c_str(), sizeof own_report_.why - 1);
  try {
    std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> copies;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      try {
        auto copy = context_->createUnboundBuffer(&own_report_, sizeof own_report_);
        copy->send(peer, kReportSlot);
        copies.push_back(std::move(copy));
      } catch (const std::exception&) {  // it is gone
      }
    }
    const auto deadline = Clock::now() + kReporting;
    for (const auto& copy : copies) copy->waitSend(deadline);
  } catch (const std::exception&) {  // the others will see the connections close
  }
}

void GlooMesh::Round::send(int to, const void* data, size_t bytes) {
  if (bytes == 0) return;
  void* memory = const_cast<void*>(data);  // NOLINT: Gloo has one kind of buffer for both directions
  auto& buffer = sends_[static_cast<size_t>(to)] = mesh_.context_->createUnboundBuffer(memory, bytes);
  mesh_.guarded(to, [&] { buffer->send(to, slot_); });
}

void GlooMesh::Round::receive(int from, void* data, size_t bytes) {
  if (bytes == 0) return;
  auto& buffer = receives_[static_cast<size_t>(from)] = mesh_.context_->createUnboundBuffer(data, bytes);
  mesh_.guarded(from, [&] { buffer->recv(from, slot_); });
}

void GlooMesh::Round::wait_receive(int from) {
  if (const auto& buffer = receives_[static_cast<size_t>(from)])
    mesh_.guarded(from, [&] { buffer->waitRecv(nullptr, mesh_.timeout_); });
}

void GlooMesh::Round::wait_sends() {
  for (int to = 0; to < mesh_.size(); ++to)
    if (const auto& buffer = sends_[static_cast<size_t>(to)])
      mesh_.guarded(to, [&] { buffer->waitSend(nullptr, mesh_.timeout_); });
}

}  // namespace glint
