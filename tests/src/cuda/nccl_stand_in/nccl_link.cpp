#include "tests/src/cuda/nccl_stand_in/nccl_link.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "kernels/simt/runtime.h"
#include "kernels/simt/streams.h"

namespace simt {

namespace {

using namespace std::chrono_literals;

std::mutex last_error_mutex;
std::string last_error;

struct Stopped {};

sockaddr_in address_of(const std::string& text) {
  const size_t colon = text.rfind(':');
  addrinfo wanted = {}, *found = nullptr;
  wanted.ai_family = AF_INET;
  if (colon == std::string::npos ||
      getaddrinfo(text.substr(0, colon).c_str(), text.substr(colon + 1).c_str(), &wanted, &found) != 0)
    throw std::runtime_error("NCCL_COMM_ID " + text + " is not HOST:PORT");
  const sockaddr_in address = *reinterpret_cast<sockaddr_in*>(found->ai_addr);
  freeaddrinfo(found);
  return address;
}

int open_socket() {
  const int one = 1, socket = ::socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return socket;
}

}  // namespace

std::string last_nccl_error() {
  const std::lock_guard lock(last_error_mutex);
  return last_error;
}

NcclLink::NcclLink(int its_rank, int its_size, const std::string& address)
    : rank(its_rank), size(its_size), thread_([this, address] { connect(address); }) {}

NcclLink::~NcclLink() {
  stop();
  if (thread_.joinable()) thread_.join();
  for (const int socket : sockets_) close(socket);
}

// Waits for a missing rank until abort().
void NcclLink::connect(const std::string& address) {
  try {
    if (size > 1 && rank == 0) {
      const int listening = listen_at(address);
      sockets_.assign(static_cast<size_t>(size), -1);
      for (int others = 1; others < size; ++others) {
        wait_for(listening, POLLIN);
        const int socket = accept(listening, nullptr, nullptr), one = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        int who = 0;
        receive_all(socket, &who, sizeof who);
        sockets_.at(static_cast<size_t>(who)) = socket;
      }
      close(listening);
      for (int other = 1; other < size; ++other) send_all(sockets_[static_cast<size_t>(other)], "!", 1);
    } else if (size > 1) {
      sockets_ = {connect_to(address)};
      send_all(sockets_[0], &rank, sizeof rank);
      char all_are_there = 0;
      receive_all(sockets_[0], &all_are_there, 1);
    }
    const std::lock_guard lock(mutex_);
    state_ = ncclSuccess;
  } catch (const Stopped&) {
  } catch (const std::exception& error) {
    fail(ncclSystemError, error.what());
  }
}

int NcclLink::listen_at(const std::string& address) {
  const sockaddr_in own = address_of(address);
  const int socket = open_socket();
  if (bind(socket, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0 || listen(socket, size) != 0) {
    close(socket);
    throw std::runtime_error("the port of " + address + " is in use");
  }
  return socket;
}

int NcclLink::connect_to(const std::string& address) {
  const sockaddr_in root = address_of(address);
  for (; !stopped_; std::this_thread::sleep_for(5ms)) {
    const int socket = open_socket();
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&root), sizeof root) == 0) return socket;
    close(socket);
  }
  throw Stopped();
}

void NcclLink::wait_for(int socket, short event) {
  pollfd one = {socket, event, 0};
  while (poll(&one, 1, 10) <= 0)
    if (stopped_) throw Stopped();
  if (stopped_) throw Stopped();
}

void NcclLink::send_all(int socket, const void* data, size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    wait_for(socket, POLLOUT);
    const ssize_t sent = send(socket, from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) throw std::runtime_error("a peer is gone");
    from += sent, bytes -= static_cast<size_t>(sent);
  }
}

void NcclLink::receive_all(int socket, void* data, size_t bytes) {
  auto* to = static_cast<char*>(data);
  while (bytes > 0) {
    wait_for(socket, POLLIN);
    const ssize_t received = recv(socket, to, bytes, 0);
    if (received <= 0) throw std::runtime_error("a peer is gone");
    to += received, bytes -= static_cast<size_t>(received);
  }
}

void NcclLink::send_bytes(int socket, const Bytes& bytes) {
  const uint64_t length = bytes.size();
  send_all(socket, &length, sizeof length);
  send_all(socket, bytes.data(), length);
}

NcclLink::Bytes NcclLink::receive_bytes(int socket) {
  uint64_t length = 0;
  receive_all(socket, &length, sizeof length);
  Bytes bytes(length);
  receive_all(socket, bytes.data(), length);
  return bytes;
}

std::vector<NcclLink::Bytes> NcclLink::exchange(const Bytes& own) {
  std::vector<Bytes> all(static_cast<size_t>(size));
  all[static_cast<size_t>(rank)] = own;
  if (size > 1 && rank != 0) {
    send_bytes(sockets_[0], own);
    for (Bytes& bytes : all) bytes = receive_bytes(sockets_[0]);
  } else if (size > 1) {
    for (size_t other = 1; other < all.size(); ++other) all[other] = receive_bytes(sockets_[other]);
    for (size_t other = 1; other < all.size(); ++other)
      for (const Bytes& bytes : all) send_bytes(sockets_[other], bytes);
  }
  return all;
}

ncclResult_t NcclLink::give(std::vector<Given> given) {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || !unsent_.empty() || finalizing_) return ncclInvalidUsage;
  unsent_ = std::move(given);
  enqueuer_ = std::this_thread::get_id();
  asked_ = 0;
  return ncclInProgress;
}

ncclResult_t NcclLink::finalize() {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || !unsent_.empty()) return ncclInvalidUsage;
  finalizing_ = true;
  enqueuer_ = std::this_thread::get_id();
  asked_ = 0;
  return ncclInProgress;
}

ncclResult_t NcclLink::state() {
  const std::lock_guard lock(mutex_);
  if (state_ != ncclSuccess || (unsent_.empty() && !finalizing_)) return state_;
  if (std::this_thread::get_id() != enqueuer_ || asked_++ == 0) return ncclInProgress;
  finalizing_ = false;
  for (const Given& one : std::exchange(unsent_, {})) enqueue_given(one);
  return ncclSuccess;
}

// Not simt::enqueue(): if the device is not late that would run the work, in a call from which NCCL returns at
// once.
void NcclLink::enqueue_given(const Given& given) {
  const auto work = [self = shared_from_this(), collective = given.work] { self->run(collective); };
  if (given.stream->graph) return enqueue(given.stream, [work, held = captured_] { work(); });
  ++counts.launches;
  given.stream->queue.push_back({work});
}

void NcclLink::run(const Collective& collective) {
  if (stopped_) return;
  try {
    return collective(*this);
  } catch (const Stopped&) {
    return;
  } catch (const std::exception& error) {
    fail(ncclRemoteError, error.what());
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopped_.load(); });
}

void NcclLink::fail(ncclResult_t result, const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    state_ = result;
  }
  const std::lock_guard lock(last_error_mutex);
  last_error = why;
}

void NcclLink::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

// The connections close when the last work that uses them has ended.
void NcclLink::abort() {
  stop();
  thread_.join();
  for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
  wait_for_graphs(30s);
}

void NcclLink::wait_for_graphs(std::chrono::milliseconds limit) const {
  for (auto waited = 0ms; captured_.use_count() > 1; waited += 1ms) {
    if (waited >= limit) {
      std::fputs("NCCL would wait forever: a graph that captured work of this communicator outlives it\n", stderr);
      std::abort();
    }
    std::this_thread::sleep_for(1ms);
  }
}

}  // namespace simt
