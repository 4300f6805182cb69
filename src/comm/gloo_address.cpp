#include "src/comm/gloo_address.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "kernels/check.h"

namespace glint {

namespace {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Addresses look_up(const std::string& host, int kind) {
  addrinfo wanted = {}, *first = nullptr;
  wanted.ai_socktype = kind;
  if (getaddrinfo(host.c_str(), nullptr, &wanted, &first) != 0) first = nullptr;
  return {first, [](addrinfo* list) {
            if (list) freeaddrinfo(list);
          }};
}

// "" where it is of no such kind.
std::string as_numbers(const sockaddr* address, socklen_t length) {
  char numbers[NI_MAXHOST];
  return getnameinfo(address, length, numbers, sizeof numbers, nullptr, 0, NI_NUMERICHOST) == 0 ? numbers : "";
}

}  // namespace

std::string address_of_socket(int socket) {
  sockaddr_storage own = {};
  socklen_t length = sizeof own;
  auto* generic = reinterpret_cast<sockaddr*>(&own);
  return getsockname(socket, generic, &length) == 0 ? as_numbers(generic, length) : "";
}

std::string address_of_host(const std::string& host) {
  const Addresses all = look_up(host, SOCK_STREAM);
  for (const addrinfo* entry = all.get(); entry; entry = entry->ai_next) {
    const int trial = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (trial < 0) continue;
    const bool of_this_machine = bind(trial, entry->ai_addr, entry->ai_addrlen) == 0;
    close(trial);
    const std::string address = as_numbers(entry->ai_addr, entry->ai_addrlen);
    if (of_this_machine && !address.empty()) return address;
  }
  throw UserError("ranks can't talk over '" + host + "': it is no name or address of this machine");
}

std::string address_of_interface(const std::string& interface) {
  ifaddrs* first = nullptr;
  GLINT_REQUIRE(getifaddrs(&first) == 0, "the network interfaces can't be listed");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(first, freeifaddrs);
  for (const auto& [family, size] :
       {std::pair(AF_INET, sizeof(sockaddr_in)), std::pair(AF_INET6, sizeof(sockaddr_in6))})
    for (const ifaddrs* entry = first; entry; entry = entry->ifa_next) {
      if (!entry->ifa_addr || entry->ifa_addr->sa_family != family || interface != entry->ifa_name) continue;
      const std::string address = as_numbers(entry->ifa_addr, static_cast<socklen_t>(size));
      if (!address.empty()) return address;
    }
  throw UserError("ranks can't talk over the network interface '" + interface +
                  "': `ip address` lists those there are");
}

std::string address_towards(const std::string& host) {
  if (host.empty()) return "";
  const Addresses all = look_up(host, SOCK_DGRAM);
  for (const addrinfo* entry = all.get(); entry; entry = entry->ai_next) {
    const int trial = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (trial < 0) continue;
    // Port 0: Linux takes it, and chooses the route all the same.
    const bool routed = connect(trial, entry->ai_addr, entry->ai_addrlen) == 0;
    const std::string address = routed ? address_of_socket(trial) : "";
    close(trial);
    if (!address.empty()) return address;
  }
  return "";
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

}  // namespace glint
