#include "src/comm/gloo_rendezvous.h"

#include <gloo/barrier.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "src/clock.h"

namespace glint {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class Store final : public gloo::rendezvous::FileStore {
 public:
  using FileStore::FileStore;
  bool has(const std::string& key) { return check({key}); }
};

// This machine's numeric address on the route to `host`, or "". Sends nothing.
std::string local_address(const std::string& host) {
  addrinfo hints = {}, *first = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (host.empty() || getaddrinfo(host.c_str(), nullptr, &hints, &first) != 0) return "";
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(first, freeaddrinfo);
  for (const addrinfo* entry = first; entry; entry = entry->ai_next) {
    const int trial = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (trial < 0) continue;
    sockaddr_storage own = {};
    socklen_t length = sizeof own;
    auto* generic = reinterpret_cast<sockaddr*>(&own);
    char numbers[NI_MAXHOST] = "";
    // Port 0: Linux accepts it and chooses the route.
    if (connect(trial, entry->ai_addr, entry->ai_addrlen) == 0 && getsockname(trial, generic, &length) == 0)
      getnameinfo(generic, length, numbers, sizeof numbers, nullptr, 0, NI_NUMERICHOST);
    close(trial);
    if (numbers[0]) return numbers;
  }
  return "";
}

std::shared_ptr<gloo::transport::Device> open_device(const Ranks& ranks, const GlooOptions& options) {
  gloo::transport::tcp::attr attributes;
  attributes.iface = options.interface;
  if (options.interface.empty()) {
    const std::string routed = local_address(ranks.master_address);
    attributes.hostname = routed.empty() ? "127.0.0.1" : routed;
  }
  try {
    return gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception&) {
    throw UserError(options.interface.empty()
                        ? "ranks can't use the address " + attributes.hostname + ": name their network by `interface`"
                        : "`interface` " + options.interface +
                              ": there is no such network interface with an address; " + "`ip address` lists them");
  }
}

// Every rank writes its key; returns when all keys exist.
void wait_for_all(Store& store, const Ranks& ranks, const GlooOptions& options, const fs::path& folder) {
  const auto deadline = Clock::now() + options.timeout;
  store.set(str_cat("rank-", ranks.rank), {'1'});
  std::vector<bool> seen(static_cast<size_t>(ranks.size));  // the first rank to time out removes all keys
  while (true) {
    const bool last = Clock::now() >= deadline;
    std::string missing;
    int count = 0;
    for (int rank = 0; rank < ranks.size; ++rank) {
      const auto entry = static_cast<size_t>(rank);
      seen[entry] = seen[entry] || store.has(str_cat("rank-", rank));
      if (!seen[entry]) missing += str_cat(count++ ? ", " : "", rank);
    }
    if (count == 0) return;
    GLINT_REQUIRE(!last, count == 1 ? "rank " : "ranks ", missing, " of ", ranks.size, " did not connect in ",
                  folder.string(), " within ", static_cast<double>(options.timeout.count()) / 1000,
                  " s: see what stopped ", count == 1 ? "it" : "them");
    std::this_thread::sleep_for(milliseconds(10));
  }
}

}  // namespace

std::shared_ptr<gloo::rendezvous::Context> rendezvous(const Ranks& ranks, const GlooOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);  // Gloo writes to closed connections; the call then returns an error
  const fs::path folder = fs::path(options.folder) / options.launch;
  auto device = open_device(ranks, options);
  std::error_code error;
  fs::create_directories(folder, error);
  GLINT_REQUIRE(!error, "the ranks can't connect in ", folder.string(), ": ", error.message());
  auto context = std::make_shared<gloo::rendezvous::Context>(ranks.rank, ranks.size);
  // All ranks have just written their keys, so one that does not connect has died. Gloo waits five timeouts to connect.
  context->setTimeout(std::max<milliseconds>(std::chrono::seconds(1), options.timeout / 5));
  try {
    Store store(folder.string());
    wait_for_all(store, ranks, options, folder);
    context->connectFullMesh(store, device);
    gloo::BarrierOptions barrier(context);
    gloo::barrier(barrier);
  } catch (const UserError&) {
    fs::remove_all(folder, error);
    throw;
  } catch (const std::exception& fault) {
    fs::remove_all(folder, error);
    throw UserError(str_cat("rank ", ranks.rank, " could not connect to all other ranks: start all of them again; on ",
                            "several machines `interface` names the network they share (", fault.what(), ")"));
  }
  if (ranks.rank == 0) fs::remove_all(folder, error);
  return context;
}

}  // namespace glint
