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
  // redis-tools has the program too, under another name: it does what it is called, and comes without a service that
  // starts.
  static std::string program() {
    const std::string usual = path_of("redis-server");
    return usual.empty() ? path_of("redis-check-rdb") : usual;
  }
  static bool here() { return !program().empty(); }

  // before: a command that runs another ("ip netns exec NAME"), its program by its path. port: 0 for one that is free
  // here.
  explicit RedisServer(const std::string& address = "127.0.0.1", const std::vector<std::string>& before = {},
                       const std::string& password = "", int port = 0)
      : address_(address), port_(port == 0 ? free_port() : port) {
    const std::string called = folder_ / "redis-server";
    std::filesystem::create_symlink(program(), called);
    std::vector<std::string> words = before;
    for (const char* word : {"--save", "", "--appendonly", "no", "--protected-mode", "no", "--bind"})
      words.push_back(word);
    words.insert(words.begin() + static_cast<std::ptrdiff_t>(before.size()), called);
    words.insert(words.end(), {address, "--port", std::to_string(port_), "--dir", folder_ / "."});
    if (!password.empty()) words.insert(words.end(), {"--requirepass", password});
    process_ = std::make_unique<Running>(std::vector<std::string>(words.begin() + 1, words.end()), words.front());
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::string url(const std::string& password = "") const {
    return "redis://" + (password.empty() ? "" : ":" + password + "@") + address_ + ":" + std::to_string(port_);
  }
  std::string port() const { return std::to_string(port_); }
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
