// A Redis of the test's own, that goes with it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/train/run_program.h"

namespace glint::test {

// "" where the program is not on the PATH.
inline std::string path_of(const std::string& program) {
  for (const char* folder : {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"})
    if (access((folder + program).c_str(), X_OK) == 0) return folder + program;
  return "";
}

class RedisServer {
 public:
  static bool here() { return !path_of("redis-server").empty(); }

  // before: a command that runs another ("ip netns exec NAME"), its program by its path.
  explicit RedisServer(const std::string& address = "127.0.0.1", const std::vector<std::string>& before = {}, const std::string& password = "")
      : address_(address), port_(free_port()) {
    std::vector<std::string> words = before;
    for (const char* word : {"redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no", "--bind"}) words.push_back(word);
    words[before.size()] = path_of("redis-server");
    words.insert(words.end(), {address, "--port", std::to_string(port_), "--dir", folder_ / "."});
    if (!password.empty()) words.insert(words.end(), {"--requirepass", password});
    const std::string program = words.front();
    words.erase(words.begin());
    process_ = std::make_unique<Running>(words, program);
  }
  ~RedisServer() {
    process_->send(SIGKILL);
    process_->wait();
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::string url(const std::string& password = "") const {
    return "redis://" + (password.empty() ? "" : ":" + password + "@") + address_ + ":" + std::to_string(port_);
  }
  void send(int signal) const { process_->send(signal); }

  static int free_port() {
    const int trial = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    bind(trial, generic, length);
    getsockname(trial, generic, &length);
    close(trial);
    return ntohs(address.sin_port);
  }

 private:
  ScratchFolder folder_;
  const std::string address_;
  const int port_;
  std::unique_ptr<Running> process_;
};

}  // namespace glint::test
