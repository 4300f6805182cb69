#include "train/checkpoint/team_checkpoint.h"

#include <xxhash.h>

#include "train/loaded_run.h"

namespace glint {

namespace fs = std::filesystem;

namespace {

// The moments of all ranks, in the format that they have on the device.
template <typename Moment>
struct GatheredMoments {
  GatheredMoments(const Parameters& p, const Partition& partition, Communicator& comm)
      : m(p, partition, comm, p.first_moments<Moment>()),
        v(p, partition, comm, p.second_moments<Moment>(), partition.muon) {}
  GatheredState<Moment> m, v;
};
template <typename Use>  // use(GatheredMoments&)
void with_moments(const Parameters& p, const Partition& partition, Communicator& comm, const Use& use) {
  if (partition.moments == DType::bf16) use(GatheredMoments<Bf16>(p, partition, comm));
  else use(GatheredMoments<float>(p, partition, comm));
}

}  // namespace

void save_checkpoint_together(const fs::path& folder, Saved what, Parameters& p, TrainingStep& step, Team& team,
                              const CheckpointState& state) {
  const Partition& partition = step.partition();
  GatheredParameters values(p, partition, team.comm());
  values.gather();
  if (what == Saved::weights) {
    return team.run_collectively(team.is_main(),
                                 [&] { save_checkpoint(folder, tensor_views(p, values.data()), {}, {}, state); });
  }
  with_moments(p, partition, team.comm(), [&](auto&& moments) {
    moments.m.gather();
    moments.v.gather();
    team.run_collectively(team.is_main(), [&] {
      save_checkpoint(folder, tensor_views(p, values.data()), tensor_views(p, moments.m.data()),
                      tensor_views(p, moments.v.data(), partition.muon), state);
    });
  });
}

std::optional<CheckpointState> load_checkpoint_together(const fs::path& folder, Parameters& p, TrainingStep& step,
                                                        Team& team, Changed changed) {
  bool exists = team.is_main() && has_checkpoint(folder);
  team.share(exists);
  if (!exists) return std::nullopt;
  const Partition& partition = step.partition();
  GatheredParameters values(p, partition, team.comm());
  CheckpointState state;
  with_moments(p, partition, team.comm(), [&](auto&& moments) {
    team.run_collectively(team.is_main(), [&] {
      state = load_checkpoint(folder, tensor_views(p, values.data()), tensor_views(p, moments.m.data()),
                              tensor_views(p, moments.v.data(), partition.muon), changed);
    });
    moments.m.scatter();
    moments.v.scatter();
  });
  values.scatter(step.exchange());
  for (uint64_t* number : {&state.step, &state.rng_seed, &state.rng_offset}) team.share(*number);
  team.share(state.best_val_loss);
  team.share(state.evaluations_since_best);
  return state;
}

uint64_t checksum_of(const Parameters& p) {
  const size_t first = p.masters() ? p.decayed_elements() : 0, n = p.elements() - first;
  HostCopy values(p, p.value_at(first), n);
  const uint64_t sum = XXH3_64bits(values.data(), n * sizeof(float));
  if (!p.rounded()) return sum;
  std::vector<Bf16> rounded(p.elements());
  p.device().visit(
      [&](const auto& ctx) { copy_to_host(ctx, rounded.data(), p.rounded(), rounded.size() * sizeof(Bf16)); });
  return XXH3_64bits_withSeed(rounded.data(), rounded.size() * sizeof(Bf16), sum);
}

}  // namespace glint
