// glint train: starts or resumes a run, in one process or in several ranks that share each batch.
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/launcher.h"
#include "train/loaded_run.h"
#include "train/run_data.h"
#include "train/text.h"
#include "train/trainer.h"

namespace glint {

namespace {

namespace fs = std::filesystem;

// Throws unless all ranks have the same version of glint and the same options, except paths and what one rank decides.
void require_same_options(const TrainOptions& options, Team& team) {
  const std::set<std::string> of_one_rank = {"data",    "val-data",  "init-from", "out",
                                             "threads", "interface", "quiet",     "restarts"};
  Team::Fields fields = {{"version of glint", version()}};
  const auto json = to_json(options);
  for (const auto& [name, value] : json.items())
    if (!of_one_rank.contains(name)) fields.emplace_back("--" + name, plain_text(value));
  team.require_same(fields);
}

struct Start {
  fs::path root;           // the run folder
  bool fresh = true;       // otherwise resumed
  bool has_config = true;  // on this machine; otherwise rank 0 sends the options
  bool gives_data = false;
  bool imported = false;  // resumed for the first time, from step 0
  Changed changed = Changed::refused;
};

void require_steps_left(const TrainOptions& options, const fs::path& last) {
  if (!has_checkpoint(last)) return;
  const uint64_t step = read_checkpoint_state(last).step;
  GLINT_REQUIRE(static_cast<uint64_t>(options.steps) >= step, "--steps ", options.steps,
                " is below the step that the run has reached, ", step, ": give more, or leave it out");
}

void train_in_team(TrainOptions options, const Start& start, Team& team) {
  const fs::path& root = start.root;
  const bool fresh = start.fresh;
  if (!fresh) {
    const std::string of_rank_0 = team.text_of(0, to_json(options).dump());
    if (!start.has_config)
      options = options_from_json(nlohmann::ordered_json::parse(of_rank_0), "the options of rank 0");
  }
  require_same_options(on_this_machine(options), team);
  RunFolder folder = !team.is_main() ? RunFolder::follow(root)
                     : fresh         ? RunFolder::create(root)
                                     : RunFolder::open(root);
  team.comm().barrier();  // stops here if rank 0 failed
  team.run_collectively(team.is_main() && !fresh, [&] {
    require_steps_left(options, folder.paths().last());
    if (start.gives_data && !start.imported) adopt_run_data(folder.paths(), options);
    folder.write_config(options);
  });
  const int stop = fresh ? start_training(options, folder, team, start.changed)
                         : resume_training(options, folder, team, start.changed);
  if (stop) throw ExitCode{128 + stop};
}

}  // namespace

void register_train(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(command);
  const auto changed = std::make_shared<Changed>(Changed::refused);
  add_changed_flag(command, *changed);
  command.callback([flags, changed] {
    const Ranks place = ranks_from_environment();
    Start start;
    start.fresh = flags->resume().empty();
    start.has_config = start.fresh || place.rank == 0 || fs::exists(RunPaths{flags->resume()}.config());
    start.imported = !start.fresh && is_untrained(RunPaths{flags->resume()});
    const auto saved = [&] { return read_run_config(existing_run(flags->resume())); };
    const TrainOptions options = start.fresh        ? flags->fresh()
                                 : start.imported   ? flags->of_import(saved())
                                 : start.has_config ? flags->resumed(saved())
                                                    : flags->unvalidated();
    start.root = start.fresh ? fs::path(options.out) : flags->resume();
    if (place.source.empty() && options.ranks > 1) return launch_ranks(options.ranks, {start.root, options.restarts});
    GLINT_REQUIRE(options.ranks == place.size, "--ranks ", options.ranks, ", but ", place.source, " has started ",
                  place.size, ": leave --ranks out");
    start.gives_data = flags->gives_data();
    start.changed = *changed;
    run_as_rank(place, start.root, on_this_machine(options), [&](Team& team) { train_in_team(options, start, team); });
  });
}

}  // namespace glint
