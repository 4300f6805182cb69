// What gloo.cpp builds its collectives on: a full mesh of connections by Gloo, messages between pairs of ranks, and one
// verdict on who is at fault.
//
// Of Gloo it uses connecting and the unbound buffers' send and recv. Gloo's own collectives can't be interrupted, add
// in an order that depends on an element's place, and on a timeout close every connection, so that nobody can be told
// why.
//
// Who is at fault: a thread for each other rank sleeps until that one's connection closes or brings its last words. The
// first to know decides, interrupts this rank's wait, and passes its verdict on as its own last words, before its
// connections close in turn: so the one that died is named, not those that ended because of it. A rank that waits in
// vain for a timeout complains to all others of the one it waits for, listens for theirs, and follows them: at fault is
// who is complained of and does not complain.
#pragma once

#include <gloo/rendezvous/context.h>
#include <gloo/transport/unbound_buffer.h>

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
#include "src/comm/no_sigpipe.h"
#include "src/comm/ranks.h"

namespace glint {

class GlooLink {
 public:
  GlooLink(const Ranks& ranks, const GlooOptions& options);
  ~GlooLink();
  GlooLink(const GlooLink&) = delete;
  GlooLink& operator=(const GlooLink&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  void check();
  void abort(const std::string& why) noexcept;

  // One round of messages: at most one to and one from each other rank, whose memory must stay until the round is over.
  // It throws PeerError when for a whole timeout nothing that it waits for has come to its end.
  class Round {
   public:
    explicit Round(GlooLink& link);
    ~Round();
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

    void send(int to, const void* data, size_t bytes);
    void receive(int from, void* data, size_t bytes);
    void wait_receive(int from);  // at once where nothing was to be received
    void wait_sends();

   private:
    friend class GlooLink;
    using Buffer = gloo::transport::UnboundBuffer;
    struct Message {
      int peer;
      bool outgoing;
      std::unique_ptr<Buffer> buffer;
    };
    Buffer* add(int peer, bool outgoing, void* data, size_t bytes);
    void wait(const Message& message);

    NoSigpipe no_sigpipe_;
    GlooLink& link_;
    uint64_t slot_;
    std::vector<Message> messages_;  // changed under link_.mutex_ alone
  };

 private:
  // What a rank says to each other one beside the rounds: that it waits in vain, once; then last words.
  enum class Kind : int { nothing, complaint, verdict, good_end };
  struct Words {
    Kind kind = Kind::nothing;
    int at_fault = kNobody;  // complaint: the rank waited for
    char line[500] = "";     // verdict: why
  };
  // Words on their way to the others: both stay until those have them, or this goes.
  struct Letters {
    Words words;
    std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> copies;
  };
  struct Peer {
    Words words;  // by it
    std::unique_ptr<gloo::transport::UnboundBuffer> ear;
    std::thread watcher;
    int waits_for = kNobody;  // in vain: its complaint
    bool ended = false;       // in good order
  };
  struct Verdict {
    int at_fault;
    std::string line;
  };

  void watch(int peer);
  bool hear(int peer);  // takes the words in; whether more may come
  void watch_clock();
  void wind_clock();                                   // mutex_ is held
  void decide(int at_fault, const std::string& line);  // the first decision stands
  void interrupt();                                    // mutex_ is held
  static void interrupt(const Round::Message& message);
  void complain(int peer);
  int end_of_chain(int peer) const;                                          // mutex_ is held
  [[noreturn]] void fail(int peer);                                          // a wait for this rank has ended in vain
  void say_last(Kind kind, int at_fault, const std::string& line) noexcept;  // once
  void send(Letters& letters, int but) noexcept;                             // to all other ranks but one

  static constexpr int kNobody = -1;
  // For Gloo's own timeouts, which close all connections: deadlines are kept here.
  static constexpr auto kForever = std::chrono::hours(24 * 365);

  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  uint64_t next_slot_ = 1;
  std::vector<Peer> peers_;  // by rank; this rank's own stays empty
  Letters complaint_;        // of this rank, once
  std::thread clock_;

  std::mutex mutex_;  // guards what follows, Peer::waits_for and Peer::ended
  std::condition_variable changed_;
  std::optional<Verdict> verdict_;
  Round* round_ = nullptr;  // the one going on
  std::chrono::steady_clock::time_point deadline_;
  bool late_ = false;  // the deadline has passed
  bool closing_ = false;
  bool said_last_ = false;
};

}  // namespace glint
