// What each rank keeps a part of, as a whole on the host of rank 0: to be written to a checkpoint, or as it was read
// from one.
#pragma once

#include <optional>
#include <vector>

#include "src/comm/communicator.h"
#include "src/gradient_exchange.h"
#include "src/partition.h"

namespace glint {

// First or second moments, or masters. Where every rank keeps all of it, on a CPU: the buffer itself.
class GatheredState {
 public:
  // kept: of this rank's pieces up to element `end`, on the parameters' device.
  GatheredState(const Parameters& parameters, const Partition& partition, Communicator& comm, float* kept, size_t end);
  GatheredState(const Parameters& parameters, const Partition& partition, Communicator& comm, float* kept)
      : GatheredState(parameters, partition, comm, kept, parameters.elements()) {}

  float* data() { return whole_.empty() ? kept_.data() : whole_.data(); }  // (elements) on rank 0; of no use on others
  void gather();                                                           // fills data() up to `end` from all ranks
  void scatter();  // gives what data() holds on rank 0 back to all ranks

 private:
  const Partition& partition_;
  Communicator& comm_;
  const size_t end_, kept_elements_;
  HostCopy kept_;
  std::vector<float> whole_;  // empty where `kept_` is all there is
};

// The parameters in fp32, which with sharded masters no rank has.
class GatheredParameters {
 public:
  GatheredParameters(Parameters& parameters, const Partition& partition, Communicator& comm);

  float* data() { return all_ ? all_->data() : masters_->data(); }  // as GatheredState's
  void gather();
  // exchange: the ranks', where they keep masters apart.
  void scatter(GradientExchange* exchange);

 private:
  Parameters& parameters_;
  const Partition& partition_;
  Communicator& comm_;
  std::optional<HostCopy> all_;           // one of the two
  std::optional<GatheredState> masters_;  // of what is decayed; the rest every rank has
};

// Frees the fp32 values of decayed elements that other ranks update: in bf16 nothing else reads them.
void keep_own_masters(Parameters& parameters, const Partition& partition);

}  // namespace glint
