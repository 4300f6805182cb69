#include "src/comm/gloo_meeting.h"

#include <gloo/barrier.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "src/comm/no_sigpipe.h"

namespace glint {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::shared_ptr<gloo::transport::Device> open_device(const GlooOptions& options) {
  gloo::transport::tcp::attr attributes;
  attributes.iface = options.interface;
  attributes.hostname = options.host;
  if (options.host.empty() && options.interface.empty()) attributes.hostname = "127.0.0.1";
  try {
    return gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception&) {
    throw UserError(options.host.empty() ? "ranks can't talk over the network interface '" + options.interface + "': `ip address` lists those there are"
                                         : "ranks can't talk over '" + attributes.hostname + "': it is no name or address of this machine");
  }
}

// Waits until every rank has signed in; otherwise says who is missing.
void wait_for_all(gloo::rendezvous::Store& store, const Ranks& ranks, const GlooOptions& options, const fs::path& folder) {
  const auto name = [](int rank) { return text("here-", rank); };
  store.set(name(ranks.rank), {'1'});
  const auto deadline = Clock::now() + options.timeout;
  std::string missing;
  int count = 0;
  for (int rank = 0; rank < ranks.size; ++rank) {
    try {
      store.wait({name(rank)}, std::max(milliseconds(1), std::chrono::duration_cast<milliseconds>(deadline - Clock::now())));
    } catch (const std::exception&) {
      missing += text(count++ > 0 ? ", " : "", rank);
    }
  }
  GLINT_REQUIRE(count == 0, count == 1 ? "rank " : "ranks ", missing, " of ", ranks.size, " did not come to ", folder.string(), " within ",
                static_cast<double>(options.timeout.count()) / 1000, " s: see what stopped ", count == 1 ? "it" : "them");
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
  gloo::rendezvous::FileStore store(folder.string());
  wait_for_all(store, ranks, options, folder);
  // All were there a moment ago: what takes long now is a rank that died since. Gloo waits five of its timeouts for a connection.
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
