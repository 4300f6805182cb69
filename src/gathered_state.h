// State that is sharded over the ranks: gathered in host memory of rank 0 to write a checkpoint, or scattered from
// there after reading one.
#pragma once

#include <optional>
#include <vector>

#include "src/comm/communicator.h"
#include "src/gradient_exchange.h"
#include "src/partition.h"

namespace glint {

// First or second moments, or masters. On a CPU without sharding: the buffer itself, no copy. Scalar: float, Bf16.
template <typename Scalar>
class GatheredState {
 public:
  // kept: the elements of this rank's pieces from element `begin` up to `end`, on the parameters' device.
  GatheredState(const Parameters& parameters, const Partition& partition, Communicator& comm, Scalar* kept,
                size_t begin, size_t end);
  GatheredState(const Parameters& parameters, const Partition& partition, Communicator& comm, Scalar* kept,
                size_t begin = 0)
      : GatheredState(parameters, partition, comm, kept, begin, parameters.elements()) {}

  Scalar* data() { return whole_.empty() ? kept_.data() : whole_.data(); }  // from `begin` on; valid on rank 0
  void gather();                                                            // fills data() up to `end` from all ranks
  void scatter();                                                           // sends data() from rank 0 to all ranks

 private:
  const Partition& partition_;
  Communicator& comm_;
  const size_t begin_, end_, first_kept_, kept_elements_;
  HostCopy<Scalar> kept_;
  std::vector<Scalar> whole_;  // empty where `kept_` holds everything
};

// The parameters in fp32; with sharded masters no rank holds all of them.
class GatheredParameters {
 public:
  GatheredParameters(Parameters& parameters, const Partition& partition, Communicator& comm);

  float* data() { return all_ ? all_->data() : masters_->data(); }  // as in GatheredState
  void gather();
  // exchange: used if the masters are sharded.
  void scatter(GradientExchange* exchange);

 private:
  Parameters& parameters_;
  const Partition& partition_;
  Communicator& comm_;
  std::optional<HostCopy<float>> all_;           // one of these two is set
  std::optional<GatheredState<float>> masters_;  // of decayed elements; every rank holds the others
};

// Frees the fp32 values of decayed elements that other ranks update: a bf16 model does not read them.
void keep_own_masters(Parameters& parameters, const Partition& partition);

}  // namespace glint
