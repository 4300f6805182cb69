// Fault::early_release: a stage is released before the wgmma that read it have been waited for. One run notes which
// arrivals at mbarriers follow which wait of a thread; another, of the same program, moves them before that wait.
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/simt/async_proxy.h"
#include "kernels/simt/cuda.h"

namespace simt {
namespace {

struct Release {
  unsigned waits;  // of the thread, before it
  unsigned barrier;
};
using ThreadOfLaunch = std::tuple<unsigned, unsigned, unsigned>;  // launch, block, thread

std::mutex mutex;
std::map<ThreadOfLaunch, std::vector<Release>> noted;

std::vector<Release>& releases_of_thread() {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  return noted[{options.launch, block, self->rank}];
}
std::string site(unsigned barrier) { return "mbarrier " + std::to_string(barrier); }

}  // namespace

std::set<std::string> release_sites() {
  const std::lock_guard lock(mutex);
  std::set<std::string> sites;
  for (const auto& [thread, releases] : noted) {
    for (const Release& release : releases) sites.insert(site(release.barrier));
  }
  return sites;
}

void begin_launch() {
  const std::lock_guard lock(mutex);
  if (options.note_releases && options.launch == 0) noted.clear();
  ++options.launch;
}

bool released_already(unsigned barrier) {
  if (options.note_releases && self->wgmma_waits > 0) {
    const std::lock_guard lock(mutex);
    releases_of_thread().push_back({self->wgmma_waits, barrier});
  }
  if (self->early_releases == 0 || options.fault_site != site(barrier)) return false;
  --self->early_releases;
  return true;
}

void release_early() {
  ++self->wgmma_waits;
  if (options.fault != Fault::early_release) return;
  const std::lock_guard lock(mutex);
  for (const Release& release : releases_of_thread()) {
    if (release.waits != self->wgmma_waits || options.fault_site != site(release.barrier)) continue;
    AsyncProxy& proxy = self->block->async();
    proxy.update(proxy.mbarrier(release.barrier), 1, 0);
    ++self->early_releases;
  }
}

}  // namespace simt
