#include "src/comm/gloo_mesh.h"

#include <cstring>

#include "src/clock.h"
#include "src/comm/gloo_rendezvous.h"

namespace glint {

namespace {

// The timeout to send a report, and to wait for one. A dead or stopped rank never receives one.
constexpr auto kReporting = std::chrono::milliseconds(400);
constexpr auto kPollEvery = std::chrono::milliseconds(100);
constexpr auto kForever = std::chrono::hours(24 * 365);  // for Gloo's own timeouts

}  // namespace

GlooMesh::GlooMesh(const Ranks& ranks, const GlooOptions& options)
    : timeout_(options.timeout), context_(rendezvous(ranks, options)), inboxes_(static_cast<size_t>(ranks.size)) {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    Inbox& inbox = inboxes_[static_cast<size_t>(peer)];
    inbox.buffer = context_->createUnboundBuffer(&inbox.report, sizeof inbox.report);
    try {
      inbox.buffer->recv(peer, kReportSlot);
    } catch (const std::exception&) {
      fail(peer, false);
    }
  }
  watchdog_ = std::thread([this] { watch(); });
}

GlooMesh::~GlooMesh() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  watchdog_.join();
}

void GlooMesh::abort(const std::string& why) noexcept { send_report(rank(), why); }

void GlooMesh::wait(int peer, Buffer& buffer, bool outgoing) {
  {
    const std::lock_guard lock(mutex_);
    wait_ = Wait{peer, &buffer, outgoing, Clock::now() + timeout_};
  }
  bool done = false;
  try {
    done = outgoing ? buffer.waitSend(nullptr, kForever) : buffer.waitRecv(nullptr, kForever);
  } catch (const std::exception&) {  // the connection closed
  }
  std::unique_lock lock(mutex_);
  wait_.reset();
  const bool timed_out = timed_out_;
  lock.unlock();
  if (!done) fail(peer, timed_out);
}

void GlooMesh::watch() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    changed_.wait_for(lock, kPollEvery);
    if (!wait_) continue;
    timed_out_ = Clock::now() >= wait_->deadline;
    if (!timed_out_ && !is_closed(wait_->peer)) continue;
    if (wait_->outgoing) wait_->buffer->abortWaitSend();
    else wait_->buffer->abortWaitRecv();
  }
}

bool GlooMesh::is_closed(int peer) {
  Inbox& inbox = inboxes_[static_cast<size_t>(peer)];
  try {
    inbox.buffer->abortWaitRecv();
    inbox.buffer->waitRecv(nullptr, kForever);  // returns at once, or throws if the connection has closed
    return inbox.report.failed;
  } catch (const std::exception&) {
    return true;
  }
}

void GlooMesh::fail(int peer, bool timed_out) {
  const FailureReport& report = inboxes_[static_cast<size_t>(peer)].report;
  std::string line = str_cat("rank ", peer, " is gone: its process died, or the network dropped it");
  if (timed_out) {
    line = str_cat("rank ", peer, " hangs: nothing came from it for ", static_cast<double>(timeout_.count()) / 1000,
                   " s (`comm_timeout`)");
    // If it does not hang, it waits for another rank, and reports that after its own timeout.
    if (!report.failed) send_report(peer, line);
    for (const auto end = Clock::now() + kReporting; !report.failed && Clock::now() < end;)
      std::this_thread::sleep_for(kPollEvery / 10);
  }
  if (report.failed) line = std::string(report.why, strnlen(report.why, sizeof report.why));
  const int at_fault = report.failed ? report.at_fault : peer;
  send_report(at_fault, line);
  const bool reported = report.failed && at_fault == peer;
  failure_.emplace(at_fault, reported ? str_cat("rank ", peer, " failed: ", line) : line, reported);
  throw *failure_;
}

void GlooMesh::send_report(int at_fault, const std::string& why) noexcept {
  if (own_report_.failed) return;  // once
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
      } catch (const std::exception&) {  // the peer is gone
      }
    }
    const auto deadline = Clock::now() + kReporting;
    for (const auto& copy : copies) copy->waitSend(deadline);
  } catch (const std::exception&) {  // the others will see the connections close
  }
}

GlooMesh::Round::Round(GlooMesh& mesh)
    : mesh_(mesh),
      slot_(mesh.next_slot_++),
      sends_(static_cast<size_t>(mesh.size())),
      receives_(static_cast<size_t>(mesh.size())) {
  if (mesh.failure_) throw *mesh.failure_;
}

void GlooMesh::Round::send(int to, const void* data, size_t bytes) {
  if (bytes == 0) return;
  void* memory = const_cast<void*>(data);  // NOLINT: Gloo has one kind of buffer for both directions
  auto& buffer = sends_[static_cast<size_t>(to)] = mesh_.context_->createUnboundBuffer(memory, bytes);
  try {
    buffer->send(to, slot_);
  } catch (const std::exception&) {
    mesh_.fail(to, false);
  }
}

void GlooMesh::Round::receive(int from, void* data, size_t bytes) {
  if (bytes == 0) return;
  auto& buffer = receives_[static_cast<size_t>(from)] = mesh_.context_->createUnboundBuffer(data, bytes);
  try {
    buffer->recv(from, slot_);
  } catch (const std::exception&) {
    mesh_.fail(from, false);
  }
}

void GlooMesh::Round::wait_receive(int from) {
  if (const auto& buffer = receives_[static_cast<size_t>(from)]) mesh_.wait(from, *buffer, false);
}

void GlooMesh::Round::wait_sends() {
  for (int to = 0; to < mesh_.size(); ++to)
    if (const auto& buffer = sends_[static_cast<size_t>(to)]) mesh_.wait(to, *buffer, true);
}

}  // namespace glint
