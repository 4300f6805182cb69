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
  return str_cat("rank ", peer, " is gone: its process died or was killed, or the network dropped it");
}
// How often the clock looks, and how much later than that it has been stopped.
constexpr auto kTick = milliseconds(100), kStopped = milliseconds(400);
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
  const NoSigpipe no_sigpipe;  // also for the threads that start here
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    Peer& it = peers_[static_cast<size_t>(peer)];
    it.ear = context_->createUnboundBuffer(&it.words, sizeof it.words);
    try {
      it.ear->recv(peer, kWords);
    } catch (const std::exception&) {
      throw PeerError(peer, gone(peer));
    }
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

void GlooLink::abort(const std::string& why) noexcept {
  try {
    const std::string line = str_cat("rank ", rank_, " gave up: ", why);
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
      } catch (const std::exception&) {  // its connection closed; it has gone by a verdict, which others may still tell
        changed_.wait_for(lock, hearing(timeout_), [&] { return verdict_ || closing_; });
        break;
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

void GlooLink::wind_clock() { deadline_ = Clock::now() + timeout_ - hearing(timeout_); }

// Looks at every tick, unasked: rounds are many and short.
void GlooLink::watch_clock() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    const auto before = Clock::now();
    changed_.wait_until(lock, round_ && !late_ ? std::min(deadline_, before + kTick) : before + kTick);
    // Time in which this process was itself stopped (Ctrl-Z) is not the others' silence.
    const auto slept = Clock::now() - before;
    if (slept > kTick + kStopped) deadline_ += slept;
    if (!round_ || late_ || Clock::now() < deadline_) continue;
    late_ = true;
    interrupt();
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
  for (const Round::Message& message : round_->messages_) interrupt(message);
}

void GlooLink::interrupt(const Round::Message& message) {
  if (message.outgoing) {
    message.buffer->abortWaitSend();
  } else {
    message.buffer->abortWaitRecv();
  }
}

void GlooLink::complain(int peer) {
  {
    std::lock_guard lock(mutex_);
    if (verdict_) return;
    peers_[static_cast<size_t>(rank_)].waits_for = peer;
  }
  // Not waited for: Gloo would close all connections where it waits in vain.
  complaint_.words = {Kind::complaint, peer, ""};
  send(complaint_, peer);
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
    verdict_ = Verdict{still, str_cat("rank ", still, " stands still: nothing came from it for ", seconds, " s")};
  } else if (!verdict_) {
    const bool ended = peers_[static_cast<size_t>(peer)].ended;
    verdict_ =
        Verdict{peer, ended ? str_cat("rank ", peer, " ended while rank ", rank_, " still waited for it") : gone(peer)};
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
  Letters last;
  last.words = {kind, at_fault, ""};
  std::strncpy(last.words.line, line.c_str(), sizeof last.words.line - 1);
  send(last, kNobody);
  const auto deadline = Clock::now() + kSaying;
  for (const auto& copy : last.copies) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    try {
      copy->waitSend(nullptr, std::max(milliseconds(1), left));
    } catch (const std::exception&) {
    }
  }
}

void GlooLink::send(Letters& letters, int but) noexcept {
  const NoSigpipe no_sigpipe;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_ || peer == but) continue;
    try {
      auto copy = context_->createUnboundBuffer(&letters.words, sizeof letters.words);
      copy->send(peer, kWords);
      letters.copies.push_back(std::move(copy));
    } catch (const std::exception&) {  // it is gone: nothing to tell it
    }
  }
}

}  // namespace glint
