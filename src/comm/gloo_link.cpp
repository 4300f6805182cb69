#include "src/comm/gloo_link.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/comm/gloo_meeting.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr uint64_t kWords = 0;  // slot; rounds have those from 1
std::string gone(int peer) {
  return text("rank ", peer, " is gone: its process died or was killed, or the network dropped it");
}
// For Gloo's own timeouts, which close all connections: deadlines are kept here.
constexpr auto kForever = std::chrono::hours(24 * 365);
// How long words may take to go out: less than a dead or stopped rank would make it.
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
    it.ear->recv(peer, kWords);
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
  say_last(Kind::good_end, kNobody, "");
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
    say_last(Kind::verdict, rank_, line);
  } catch (...) {  // out of memory: the others will see this process end
  }
}

// Sleeps until the peer has spoken its last words or its connection closes.
void GlooLink::watch(int peer) {
  Peer& it = peers_[static_cast<size_t>(peer)];
  bool closed = false;
  do {
    try {
      it.ear->waitRecv(nullptr, kForever);
    } catch (const std::exception&) {
      closed = true;
    }
  } while (hear(peer) && !closed);
}

bool GlooLink::hear(int peer) {
  Peer& it = peers_[static_cast<size_t>(peer)];
  std::unique_lock lock(mutex_);
  if (closing_) return false;
  const Words words = std::exchange(it.words, Words());
  switch (words.kind) {
    case Kind::good_end:
      it.ended = true;
      return false;
    case Kind::complaint:
      it.waits_for = words.at_fault;
      try {
        it.ear->recv(peer, kWords);
        return true;
      } catch (const std::exception&) {  // it is gone; its complaint tells why
        return false;
      }
    case Kind::verdict: {
      lock.unlock();
      const std::string line(words.line, strnlen(words.line, sizeof words.line));
      decide(words.at_fault, words.at_fault == rank_ ? "the other ranks gave up on this one: " + line : line);
      return false;
    }
    case Kind::nothing:  // its connection closed
      break;
  }
  lock.unlock();
  decide(peer, gone(peer));
  return false;
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

void GlooLink::complain(int peer) {
  {
    std::lock_guard lock(mutex_);
    if (verdict_) return;
    peers_[static_cast<size_t>(rank_)].waits_for = peer;
  }
  say({Kind::complaint, peer, ""}, peer);
}

// From a rank that is waited for, to who it waits for itself, and so on.
int GlooLink::end_of_chain(int peer) const {
  int end = peer;
  for (int steps = 0; steps < size_; ++steps) {
    const int next = peers_[static_cast<size_t>(end)].waits_for;
    if (next == kNobody) return end;
    end = next;
  }
  return peer;  // a circle: the ranks' calls differ
}

void GlooLink::fail(int peer) {
  std::unique_lock lock(mutex_);
  const bool late = late_;
  lock.unlock();
  if (late) complain(peer);
  lock.lock();
  changed_.wait_for(lock, hearing(timeout_), [&] { return verdict_.has_value(); });
  if (!verdict_ && late) {
    const int still = end_of_chain(peer);
    const double seconds = static_cast<double>(timeout_.count()) / 1000;
    verdict_ = Verdict{still, text("rank ", still, " stands still: nothing came from it for ", seconds, " s")};
  } else if (!verdict_) {
    const bool ended = peers_[static_cast<size_t>(peer)].ended;
    verdict_ = Verdict{peer, ended ? text("rank ", peer, " ended while rank ", rank_, " still waited for it") : gone(peer)};
  }
  const Verdict verdict = *verdict_;
  lock.unlock();
  say_last(Kind::verdict, verdict.at_fault, verdict.line);
  throw PeerError(verdict.at_fault, verdict.line);
}

void GlooLink::say_last(Kind kind, int at_fault, const std::string& line) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (said_last_) return;
    said_last_ = true;
  }
  Words words{kind, at_fault, ""};
  std::strncpy(words.line, line.c_str(), sizeof words.line - 1);
  say(words, kNobody);
}

void GlooLink::say(const Words& words, int but) noexcept {
  const NoSigpipe no_sigpipe;
  Words copy = words;
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> letters;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_ || peer == but) continue;
    try {
      letters.push_back(context_->createUnboundBuffer(&copy, sizeof copy));
      letters.back()->send(peer, kWords);
    } catch (const std::exception&) {  // it is gone: nothing to tell it
      letters.pop_back();
    }
  }
  const auto deadline = Clock::now() + kSaying;
  for (const auto& letter : letters) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    try {
      letter->waitSend(nullptr, std::max(milliseconds(1), left));
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
