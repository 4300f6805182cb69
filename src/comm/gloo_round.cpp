#include "src/comm/gloo_link.h"

namespace glint {

GlooLink::Round::Round(GlooLink& link) : link_(link), slot_(link.next_slot_++) {
  link_.check();
  std::lock_guard lock(link_.mutex_);
  // A verdict that comes from here on interrupts this round, one that came since the check above each message in add().
  GLINT_CHECK(!link_.round_, "two threads of one rank use its communicator");
  link_.round_ = this;
  link_.late_ = false;
  link_.wind_clock();
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
  if (link_.verdict_ || link_.late_) link_.interrupt(messages_.back());
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
  link_.wind_clock();
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
