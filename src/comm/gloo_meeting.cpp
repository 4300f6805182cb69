#include "src/comm/gloo_meeting.h"

#include <gloo/barrier.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "src/comm/no_sigpipe.h"

namespace glint {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
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

std::shared_ptr<gloo::transport::Device> open_device(const GlooOptions& options) {
  std::string host = "127.0.0.1";
  if (!options.interface.empty()) host = address_of_interface(options.interface);
  if (!options.host.empty()) host = address_of_host(options.host);
  gloo::transport::tcp::attr attributes(host.c_str());
  try {
    return gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception& fault) {
    throw UserError("ranks can't talk over " + host + ": " + fault.what());
  }
}

// What the ranks leave for each other, a file each. Gloo's own file store rounds timeouts up to whole seconds, a key at a time,
// so that it could not soon tell which of many ranks are missing.
class Folder final : public gloo::rendezvous::Store {
 public:
  explicit Folder(const fs::path& path) : path_(path) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    const fs::path part = path_ / (name_of(key) + ".part");
    std::ofstream out(part, std::ios::binary);
    out.write(data.data(), static_cast<std::streamsize>(data.size()));
    out.close();
    std::error_code error;
    if (out) fs::rename(part, path_ / name_of(key), error);
    GLINT_REQUIRE(out && !error, "the ranks can't meet in ", path_.string(), ": writing in it failed");
  }
  std::vector<char> get(const std::string& key) override {
    wait({key});
    std::ifstream in(path_ / name_of(key), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, kDefaultTimeout); }
  void wait(const std::vector<std::string>& keys, const milliseconds& timeout) override {
    GLINT_REQUIRE(missing(keys, timeout).empty(), "a file of another rank did not come to ", path_.string());
  }
  // The indices of the keys that are not there when the timeout is over.
  std::vector<size_t> missing(const std::vector<std::string>& keys, milliseconds timeout) const {
    const auto deadline = Clock::now() + timeout;
    for (auto nap = milliseconds(1);; nap = std::min(2 * nap, milliseconds(50))) {
      const bool last = Clock::now() >= deadline;
      std::vector<size_t> absent;
      std::error_code error;
      for (size_t i = 0; i < keys.size(); ++i)
        if (!fs::exists(path_ / name_of(keys[i]), error)) absent.push_back(i);
      if (last || absent.empty()) return absent;
      std::this_thread::sleep_for(nap);
    }
  }

 private:
  static std::string name_of(std::string key) {
    std::replace(key.begin(), key.end(), '/', '-');
    return key;
  }
  fs::path path_;
};

// Waits until every rank has signed in; otherwise says who is missing.
void wait_for_all(Folder& folder, const Ranks& ranks, const GlooOptions& options) {
  std::vector<std::string> names;
  for (int rank = 0; rank < ranks.size; ++rank) names.push_back(text("here-", rank));
  folder.set(names[static_cast<size_t>(ranks.rank)], {'1'});
  const std::vector<size_t> missing = folder.missing(names, options.timeout);
  std::string list;
  for (size_t rank : missing) list += text(list.empty() ? "" : ", ", rank);
  const bool one = missing.size() == 1;
  GLINT_REQUIRE(missing.empty(), one ? "rank " : "ranks ", list, " of ", ranks.size, " did not come to ", options.folder, "/",
                options.launch, " within ", static_cast<double>(options.timeout.count()) / 1000, " s: see what stopped ",
                one ? "it" : "them");
}

}  // namespace

std::shared_ptr<gloo::rendezvous::Context> meet(const Ranks& ranks, const GlooOptions& options) {
  GLINT_CHECK(0 <= ranks.rank && ranks.rank < ranks.size, "rank is ", ranks.rank, " of ", ranks.size);
  GLINT_CHECK(!options.launch.empty() && options.launch.find('/') == std::string::npos, "launch is '", options.launch, "'");
  const fs::path folder = fs::path(options.folder) / options.launch;
  std::error_code error;
  fs::create_directories(folder, error);
  GLINT_REQUIRE(!error, "the ranks can't meet in ", folder.string(), ": ", error.message());

  const NoSigpipe no_sigpipe;  // also for Gloo's own thread, which starts here
  auto device = open_device(options);
  auto context = std::make_shared<gloo::rendezvous::Context>(ranks.rank, ranks.size);
  Folder store(folder);
  wait_for_all(store, ranks, options);
  // All were there a moment ago: who keeps the others waiting now died since. Gloo waits five of its timeouts to connect.
  context->setTimeout(std::max<milliseconds>(std::chrono::seconds(1), options.timeout / 5));
  try {
    context->connectFullMesh(store, device);
    gloo::BarrierOptions barrier(context);
    gloo::barrier(barrier);
  } catch (const std::exception& fault) {
    throw UserError(text("rank ", ranks.rank, " could not connect to all other ranks: ", fault.what()));
  }
  if (ranks.rank == 0) fs::remove_all(folder, error);  // all have read it
  return context;
}

}  // namespace glint
