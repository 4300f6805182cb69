// glint train: starts or resumes a run, in one process or in several ranks that share each batch.
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/launcher.h"
#include "train/trainer.h"

namespace glint {

namespace {

namespace fs = std::filesystem;

// Throws unless all ranks have the same version of glint and the same options, except paths and what one rank decides.
void require_same_options(const TrainOptions& options, Team& team) {
  const std::set<std::string> of_one_rank = {"data", "out", "threads", "interface", "quiet", "restarts"};
  Team::Fields fields = {{"version of glint", version()}};
  const auto json = to_json(options);
  for (const auto& [name, value] : json.items())
    if (!of_one_rank.contains(name))
      fields.emplace_back("--" + name, value.is_string() ? value.get<std::string>() : value.dump());
  team.require_same(fields);
}

struct Start {
  fs::path root;           // the run folder
  bool fresh = true;       // otherwise resumed
  bool has_config = true;  // on this machine; otherwise rank 0 sends the options
};

void train_in_team(TrainOptions options, const Start& start, Team& team) {
  const auto& [root, fresh, has_config] = start;
  if (!fresh) {
    const std::string of_rank_0 = team.text_of(0, to_json(options).dump());
    if (!has_config) options = options_from_json(nlohmann::ordered_json::parse(of_rank_0), "the options of rank 0");
  }
  require_same_options(options, team);
  RunFolder folder = !team.is_main() ? RunFolder::follow(root)
                     : fresh         ? RunFolder::create(root)
                                     : RunFolder::open(root);
  team.comm().barrier();  // stops here if rank 0 failed
  if (!fresh) folder.write_config(options);
  const int stop = fresh ? start_training(options, folder, team) : resume_training(options, folder, team);
  if (stop) throw ExitCode{128 + stop};
}

}  // namespace

void register_train(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(command);
  command.callback([flags] {
    const Ranks place = ranks_from_environment();
    Start start;
    start.fresh = flags->resume().empty();
    start.has_config = start.fresh || place.rank == 0 || fs::exists(RunPaths{flags->resume()}.config());
    const TrainOptions options = start.fresh        ? flags->fresh()
                                 : start.has_config ? flags->resumed(read_run_config(existing_run(flags->resume())))
                                                    : flags->unvalidated();
    start.root = start.fresh ? fs::path(options.out) : flags->resume();
    if (place.source.empty() && options.ranks > 1) return launch_ranks(options.ranks, {start.root, options.restarts});
    GLINT_REQUIRE(options.ranks == place.size, "--ranks ", options.ranks, ", but ", place.source, " has started ",
                  place.size, ": leave --ranks out");
    run_as_rank(place, start.root, options, [&](Team& team) { train_in_team(options, start, team); });
  });
}

}  // namespace glint
