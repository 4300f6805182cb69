#include "src/comm/gloo_meeting.h"

#include <gloo/barrier.h>
#include <gloo/transport/tcp/device.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "src/comm/meeting_place.h"
#include "src/comm/no_sigpipe.h"

namespace glint {

namespace {

using std::chrono::milliseconds;

// Addresses as numbers, so that Gloo has nothing to look up: where there is no such host it walks a list that it never set, and
// crashes or never ends.
std::string address_of_host(const std::string& host) {
  addrinfo wanted = {}, *first = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), nullptr, &wanted, &first) != 0) first = nullptr;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(first, [](addrinfo* list) { if (list) freeaddrinfo(list); });
  for (const addrinfo* entry = first; entry; entry = entry->ai_next) {
    const int trial = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (trial < 0) continue;
    const bool of_this_machine = bind(trial, entry->ai_addr, entry->ai_addrlen) == 0;
    close(trial);
    char address[NI_MAXHOST];
    if (of_this_machine &&
        getnameinfo(entry->ai_addr, entry->ai_addrlen, address, sizeof address, nullptr, 0, NI_NUMERICHOST) == 0)
      return address;
  }
  throw UserError("ranks can't talk over '" + host + "': it is no name or address of this machine");
}

// The interface's first one, IPv4 before IPv6.
std::string address_of_interface(const std::string& interface) {
  ifaddrs* first = nullptr;
  GLINT_REQUIRE(getifaddrs(&first) == 0, "the network interfaces can't be listed");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(first, freeifaddrs);
  for (const auto& [family, size] : {std::pair(AF_INET, sizeof(sockaddr_in)), std::pair(AF_INET6, sizeof(sockaddr_in6))})
    for (const ifaddrs* entry = first; entry; entry = entry->ifa_next) {
      if (!entry->ifa_addr || entry->ifa_addr->sa_family != family || interface != entry->ifa_name) continue;
      char address[NI_MAXHOST];
      const auto length = static_cast<socklen_t>(size);
      if (getnameinfo(entry->ifa_addr, length, address, sizeof address, nullptr, 0, NI_NUMERICHOST) == 0) return address;
    }
  throw UserError("ranks can't talk over the network interface '" + interface + "': `ip address` lists those there are");
}

// The address from which this machine reaches another, as its routes are; "" where that can't be said. Nothing is sent.
std::string address_towards(const std::string& host) {
  if (host.empty()) return "";
  addrinfo wanted = {}, *first = nullptr;
  wanted.ai_socktype = SOCK_DGRAM;
  if (getaddrinfo(host.c_str(), "9", &wanted, &first) != 0) return "";
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(first, freeaddrinfo);
  for (const addrinfo* entry = first; entry; entry = entry->ai_next) {
    const int trial = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (trial < 0) continue;
    sockaddr_storage own = {};
    socklen_t length = sizeof own;
    char address[NI_MAXHOST];
    auto* generic = reinterpret_cast<sockaddr*>(&own);
    const bool found = connect(trial, entry->ai_addr, entry->ai_addrlen) == 0 && getsockname(trial, generic, &length) == 0 &&
                       getnameinfo(generic, length, address, sizeof address, nullptr, 0, NI_NUMERICHOST) == 0;
    close(trial);
    if (found) return address;
  }
  return "";
}

// routed: an address to take where none was asked for.
std::shared_ptr<gloo::transport::Device> open_device(const GlooOptions& options, const std::string& routed) {
  std::string host = routed.empty() ? "127.0.0.1" : routed;
  if (!options.interface.empty()) host = address_of_interface(options.interface);
  if (!options.host.empty()) host = address_of_host(options.host);
  gloo::transport::tcp::attr attributes(host.c_str());
  try {
    return gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception& fault) {
    throw UserError("ranks can't talk over " + host + ": " + fault.what());
  }
}

// Waits until every rank has signed in; otherwise says who is missing.
void wait_for_all(MeetingPlace& place, const Ranks& ranks, const GlooOptions& options) {
  std::vector<std::string> names;
  for (int rank = 0; rank < ranks.size; ++rank) names.push_back(text("here-", rank));
  place.set(names[static_cast<size_t>(ranks.rank)], {'1'});
  const std::vector<size_t> missing = place.missing(names, options.timeout);
  std::string list;
  for (size_t rank : missing) list += text(list.empty() ? "" : ", ", rank);
  const bool one = missing.size() == 1;
  GLINT_REQUIRE(missing.empty(), one ? "rank " : "ranks ", list, " of ", ranks.size, " did not come to ", place.name(), " within ",
                static_cast<double>(options.timeout.count()) / 1000, " s: see what stopped ", one ? "it" : "them");
}

}  // namespace

std::shared_ptr<gloo::rendezvous::Context> meet(const Ranks& ranks, const GlooOptions& options) {
  GLINT_CHECK(0 <= ranks.rank && ranks.rank < ranks.size, "rank is ", ranks.rank, " of ", ranks.size);
  GLINT_CHECK(!options.launch.empty() && options.launch.find('/') == std::string::npos, "launch is '", options.launch, "'");
  const NoSigpipe no_sigpipe;  // also for Gloo's own thread, which starts here
  const std::unique_ptr<MeetingPlace> place = options.rendezvous.empty() ? make_folder_place(options) : make_redis_place(options);
  auto device = open_device(options, options.rendezvous.empty() ? address_towards(ranks.master_address) : place->own_address());
  auto context = std::make_shared<gloo::rendezvous::Context>(ranks.rank, ranks.size);
  wait_for_all(*place, ranks, options);
  // All were there a moment ago: who keeps the others waiting now died since. Gloo waits five of its timeouts to connect.
  context->setTimeout(std::max<milliseconds>(std::chrono::seconds(1), options.timeout / 5));
  try {
    context->connectFullMesh(*place, device);
    gloo::BarrierOptions barrier(context);
    gloo::barrier(barrier);
  } catch (const std::exception& fault) {
    throw UserError(text("rank ", ranks.rank, " could not connect to all other ranks: ", fault.what()));
  }
  if (ranks.rank == 0) place->clear();
  return context;
}

}  // namespace glint
