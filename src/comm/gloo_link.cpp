#include "src/comm/gloo_link.h"

#include <algorithm>
#include <cstring>

#include "src/comm/gloo_meeting.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kNobody = -1;
constexpr uint64_t kLastWords = 0;  // slot; rounds have those from 1
// For Gloo's own timeouts, which close all connections: deadlines are kept here.
constexpr auto kForever = std::chrono::hours(24 * 365);
// How long last words may take to go out: less than a dead or stopped rank would make it.
constexpr auto kSaying = milliseconds(200);
// How long of a timeout is kept for another rank's better knowledge of who is at fault.
milliseconds hearing(milliseconds timeout) { return std::min(milliseconds(500), timeout / 4); }

}  // namespace

GlooLink::GlooLink(const Ranks& ranks, const GlooOptions& options)
    : rank_(ranks.rank),
      size_(ranks.size),
      timeout_(options.timeout),
      context_(meet(ranks, options)),
      peers_(static_cast<size_t>(ranks.size)) {
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    Peer& it = peers_[static_cast<size_t>(peer)];
    it.ear = context_->createUnboundBuffer(&it.words, sizeof it.words);
    it.ear->recv(peer, kLastWords);
  }
  for (int peer = 0; peer < size_; ++peer)
    if (peer != rank_) peers_[static_cast<size_t>(peer)].watcher = std::thread([this, peer] { watch(peer); });
  clock_ = std::thread([this] { watch_clock(); });
}

GlooLink::~GlooLink() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  say({1, kNobody, ""});
  changed_.notify_all();
  clock_.join();
  for (Peer& peer : peers_) {
    if (!peer.watcher.joinable()) continue;
    peer.ear->abortWaitRecv();
    peer.watcher.join();
  }
}

void GlooLink::check() {
  std::unique_lock lock(mutex_);
  if (!verdict_) return;
  const Verdict verdict = *verdict_;
  lock.unlock();
  throw PeerError(verdict.at_fault, verdict.line);
}

void GlooLink::give_up(const std::string& why) noexcept {
  try {
    const std::string line = text("rank ", rank_, " gave up: ", why);
    decide(rank_, line);
    LastWords words{1, rank_, ""};
    std::strncpy(words.line, line.c_str(), sizeof words.line - 1);
    say(words);
  } catch (...) {  // out of memory: the others will see this process end
  }
}

// Sleeps until the peer speaks its last words or its connection closes.
void GlooLink::watch(int peer) {
  Peer& it = peers_[static_cast<size_t>(peer)];
  bool closed = false;
  try {
    it.ear->waitRecv(nullptr, kForever);
  } catch (const std::exception&) {
    closed = true;
  }
  std::unique_lock lock(mutex_);
  if (closing_) return;
  if (it.words.said == 0) {
    lock.unlock();
    if (closed) decide(peer, text("rank ", peer, " is gone: its process died or was killed, or the network dropped it"));
  } else if (it.words.at_fault == kNobody) {
    it.ended = true;
  } else {
    lock.unlock();
    const std::string line(it.words.line, strnlen(it.words.line, sizeof it.words.line));
    decide(it.words.at_fault, it.words.at_fault == rank_ ? "the other ranks gave up on this one: " + line : line);
  }
}

void GlooLink::watch_clock() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    if (!round_ || late_) {
      changed_.wait(lock);
    } else if (Clock::now() < deadline_) {
      changed_.wait_until(lock, Clock::time_point(deadline_));
    } else {
      late_ = true;
      interrupt();
    }
  }
}

void GlooLink::decide(int at_fault, const std::string& line) {
  std::lock_guard lock(mutex_);
  if (!verdict_) verdict_ = Verdict{at_fault, line};
  interrupt();
  changed_.notify_all();
}

void GlooLink::interrupt() {
  if (!round_) return;
  for (const Round::Message& message : round_->messages_) {
    if (message.outgoing) {
      message.buffer->abortWaitSend();
    } else {
      message.buffer->abortWaitRecv();
    }
  }
}

void GlooLink::fail(int peer) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, hearing(timeout_), [&] { return verdict_.has_value(); });
  if (!verdict_) {
    std::string line = text("rank ", peer, " is gone: its process died or was killed, or the network dropped it");
    if (peers_[static_cast<size_t>(peer)].ended) line = text("rank ", peer, " ended while rank ", rank_, " still waited for it");
    if (late_)
      line = text("rank ", peer, " stands still: nothing came from it for ", static_cast<double>(timeout_.count()) / 1000, " s");
    verdict_ = Verdict{peer, line};
  }
  const Verdict verdict = *verdict_;
  lock.unlock();
  LastWords words{1, verdict.at_fault, ""};
  std::strncpy(words.line, verdict.line.c_str(), sizeof words.line - 1);
  say(words);
  throw PeerError(verdict.at_fault, verdict.line);
}

void GlooLink::say(const LastWords& words) noexcept {
  const NoSigpipe no_sigpipe;
  {
    std::lock_guard lock(mutex_);
    if (said_) return;
    said_ = true;
  }
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> letters;
  LastWords copy = words;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    try {
      letters.push_back(context_->createUnboundBuffer(&copy, sizeof copy));
      letters.back()->send(peer, kLastWords);
    } catch (const std::exception&) {  // it is gone: nothing to tell it
      letters.pop_back();
    }
  }
  const auto deadline = Clock::now() + kSaying;
  for (const auto& letter : letters) {
    try {
      letter->waitSend(nullptr, std::max(milliseconds(1), std::chrono::duration_cast<milliseconds>(deadline - Clock::now())));
    } catch (const std::exception&) {
    }
  }
}

GlooLink::Round::Round(GlooLink& link) : link_(link), slot_(link.next_slot_++) {
  link_.check();
  std::lock_guard lock(link_.mutex_);
  GLINT_CHECK(!link_.round_, "two threads of one rank use its communicator");
  link_.round_ = this;
  link_.late_ = false;
  link_.deadline_ = Clock::now() + link_.timeout_ - hearing(link_.timeout_);
  link_.changed_.notify_all();
}

GlooLink::Round::~Round() {
  std::lock_guard lock(link_.mutex_);
  link_.round_ = nullptr;
  messages_.clear();
}

GlooLink::Round::Buffer* GlooLink::Round::add(int peer, bool outgoing, void* data, size_t bytes) {
  auto buffer = link_.context_->createUnboundBuffer(data, bytes);
  std::lock_guard lock(link_.mutex_);
  messages_.push_back({peer, outgoing, std::move(buffer)});
  return messages_.back().buffer.get();
}

void GlooLink::Round::send(int to, const void* data, size_t bytes) {
  if (bytes == 0) return;
  Buffer* buffer = add(to, true, const_cast<void*>(data), bytes);  // NOLINT: Gloo has one kind of buffer for both ways
  try {
    buffer->send(to, slot_);
  } catch (const std::exception&) {
    link_.fail(to);
  }
}

void GlooLink::Round::receive(int from, void* data, size_t bytes) {
  if (bytes == 0) return;
  Buffer* buffer = add(from, false, data, bytes);
  try {
    buffer->recv(from, slot_);
  } catch (const std::exception&) {
    link_.fail(from);
  }
}

void GlooLink::Round::wait(const Message& message) {
  bool done = false;
  try {
    done = message.outgoing ? message.buffer->waitSend(nullptr, kForever) : message.buffer->waitRecv(nullptr, kForever);
  } catch (const std::exception&) {  // the connection closed
  }
  if (!done) link_.fail(message.peer);
  std::lock_guard lock(link_.mutex_);
  link_.deadline_ = Clock::now() + link_.timeout_ - hearing(link_.timeout_);
}

void GlooLink::Round::wait_receive(int from) {
  for (const Message& message : messages_)
    if (!message.outgoing && message.peer == from) wait(message);
}

void GlooLink::Round::wait_sends() {
  for (const Message& message : messages_)
    if (message.outgoing) wait(message);
}

}  // namespace glint
