#include "train/checkpoint/team_checkpoint.h"

#include <xxhash.h>

#include "train/loaded_run.h"

namespace glint {

namespace fs = std::filesystem;

void save_checkpoint_together(const fs::path& folder, Saved what, Parameters& p, TrainingStep& step, Team& team,
                              const CheckpointState& state) {
  const Partition& partition = step.partition();
  GatheredParameters values(p, partition, team.comm());
  values.gather();
  if (what == Saved::weights) {
    return team.run_collectively(team.is_main(),
                                 [&] { save_checkpoint(folder, tensor_views(p, values.data()), {}, {}, state); });
  }
  GatheredState m(p, partition, team.comm(), p.first_moments()), v(p, partition, team.comm(), p.second_moments());
  m.gather();
  v.gather();
  team.run_collectively(team.is_main(), [&] {
    save_checkpoint(folder, tensor_views(p, values.data()), tensor_views(p, m.data()), tensor_views(p, v.data()),
                    state);
  });
}

std::optional<CheckpointState> load_checkpoint_together(const fs::path& folder, Parameters& p, TrainingStep& step,
                                                        Team& team, Changed changed) {
  bool exists = team.is_main() && has_checkpoint(folder);
  team.share(exists);
  if (!exists) return std::nullopt;
  const Partition& partition = step.partition();
  GatheredParameters values(p, partition, team.comm());
  GatheredState m(p, partition, team.comm(), p.first_moments()), v(p, partition, team.comm(), p.second_moments());
  CheckpointState state;
  team.run_collectively(team.is_main(), [&] {
    state = load_checkpoint(folder, tensor_views(p, values.data()), tensor_views(p, m.data()),
                            tensor_views(p, v.data()), changed);
  });
  for (uint64_t* number : {&state.step, &state.rng_seed, &state.rng_offset}) team.share(*number);
  bool has_best = state.best_val_loss.has_value();
  double best = state.best_val_loss.value_or(0);
  team.share(has_best);
  team.share(best);
  team.share(state.evaluations_since_best);
  state.best_val_loss = has_best ? std::optional(best) : std::nullopt;
  values.scatter(step.exchange());
  m.scatter();
  v.scatter();
  return state;
}

uint64_t checksum_of(const Parameters& p) {
  const size_t first = p.masters() ? p.decayed_elements() : 0, n = p.elements() - first;
  HostCopy values(p, p.value_at(first), n);
  const uint64_t sum = XXH3_64bits(values.data(), n * sizeof(float));
  if (!p.rounded()) return sum;
  std::vector<Bf16> rounded(p.elements());
  std::visit([&](const auto& ctx) { copy_to_host(ctx, rounded.data(), p.rounded(), rounded.size() * sizeof(Bf16)); },
             p.device().context());
  return XXH3_64bits_withSeed(rounded.data(), rounded.size() * sizeof(Bf16), sum);
}

}  // namespace glint
