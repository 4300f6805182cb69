// Two hosts without a common network but one cable between them, as two network namespaces. They go with the test.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/src/comm/redis_server.h"
#include "tests/train/run_program.h"

namespace glint::test {

// Hosts 0 and 1, which are 10.213.N.1 and 10.213.N.2.
class TwoHosts {
 public:
  TwoHosts() {
    missing_ = geteuid() != 0          ? "root"
               : path_of("ip").empty() ? "iproute2"
               : RedisServer::here()   ? ""
                                       : "a Redis server";
    if (!missing_.empty()) return;
    delete_those_of_the_dead();
    if (!ip({"netns", "add", name(0)}) || !ip({"netns", "add", name(1)})) {
      missing_ = "the kernel's leave for network namespaces";
      return;
    }
    bool well =
        ip({"link", "add", "glint0", "netns", name(0), "type", "veth", "peer", "name", "glint0", "netns", name(1)});
    for (int host = 0; host < 2; ++host)
      well = well && ip({"-n", name(host), "address", "add", address(host) + "/24", "dev", "glint0"}) &&
             ip({"-n", name(host), "link", "set", "glint0", "up"}) && ip({"-n", name(host), "link", "set", "lo", "up"});
    if (!well) missing_ = "the kernel's leave for virtual cables";
  }
  ~TwoHosts() {
    for (int host = 0; host < 2; ++host)
      if (std::filesystem::exists(kAll + name(host))) ip({"netns", "delete", name(host)});
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  // Why there are none; "" where there are.
  std::string missing() const { return missing_; }
  std::string address(int host) const {
    return "10.213." + std::to_string(getpid() % 250) + "." + std::to_string(host + 1);
  }
  // The command that runs another one there.
  std::vector<std::string> before(int host) const { return {path_of("ip"), "netns", "exec", name(host)}; }
  void pull_cable() const { ip({"-n", name(1), "link", "set", "glint0", "down"}); }

 private:
  static inline const std::string kAll = "/run/netns/", kStart = "glint-";

  static bool ip(const std::vector<std::string>& words) { return Running(words, path_of("ip")).wait().code == 0; }
  static std::string name(int host) { return kStart + std::to_string(getpid()) + "-" + std::to_string(host); }
  // What a test program that was killed has left: named after its process.
  static void delete_those_of_the_dead() {
    std::error_code error;
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(kAll, error))
      names.push_back(entry.path().filename().string());
    for (const std::string& found : names) {
      const int process = found.starts_with(kStart) ? std::atoi(found.c_str() + kStart.size()) : 0;
      if (process > 0 && kill(process, 0) != 0) ip({"netns", "delete", found});
    }
  }
  std::string missing_;
};

}  // namespace glint::test
