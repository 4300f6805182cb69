// What gloo.cpp builds its collectives on: a full mesh of connections by Gloo, messages between pairs of ranks, and one verdict
// on who is at fault.
//
// Of Gloo it uses connecting and the unbound buffers' send and recv. Gloo's own collectives can't be interrupted, add in an
// order that depends on an element's place, and on a timeout close every connection, so that nobody can be told why.
//
// Who is at fault: a thread for each other rank sleeps until that one's connection closes or brings its last words. The first
// to know decides, interrupts this rank's wait, and passes its verdict on as its own last words, before its connections close in
// turn: so the one that died is named, not those that ended because of it. A rank that waits in vain blames the one it waits for;
// rounds are direct, so who waits for a rank that stands still has begun to wait before who waits for the first of them.
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
  void give_up(const std::string& why) noexcept;

  // One round of messages: at most one to and one from each other rank, whose memory must stay until the round is over. It throws
  // PeerError when for a whole timeout nothing that it waits for has come to its end.
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
  // What a rank says to each other one, once: that it ends, or who is at fault.
  struct LastWords {
    int said = 0;      // 0: nothing yet
    int at_fault = 0;  // a rank; kNobody: this one ends in good order
    char line[500] = "";
  };
  struct Peer {
    LastWords words;  // by it
    std::unique_ptr<gloo::transport::UnboundBuffer> ear;
    std::thread watcher;
    bool ended = false;  // in good order
  };
  struct Verdict {
    int at_fault;
    std::string line;
  };

  void connect(const Ranks& ranks, const GlooOptions& options);
  void watch(int peer);
  void watch_clock();
  void decide(int at_fault, const std::string& line);  // the first decision stands
  void interrupt();                                    // mutex_ is held
  [[noreturn]] void fail(int peer);                    // a wait for this rank has ended in vain
  void say(const LastWords& words) noexcept;           // to all others, once

  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  uint64_t next_slot_ = 1;
  std::vector<Peer> peers_;  // by rank; this rank's own stays empty
  std::thread clock_;

  std::mutex mutex_;  // guards what follows, and Peer::ended
  std::condition_variable changed_;
  std::optional<Verdict> verdict_;
  Round* round_ = nullptr;  // the one going on
  std::chrono::steady_clock::time_point deadline_;
  bool late_ = false;  // the deadline has passed
  bool closing_ = false;
  bool said_ = false;
};

}  // namespace glint
