// glint train: a new run, or the rest of one; by one process, or by several ranks that share each batch.
#include <filesystem>

#include <nlohmann/json.hpp>

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/launcher.h"
#include "train/options_table.h"
#include "train/trainer.h"

namespace glint {

namespace {

namespace fs = std::filesystem;

// What a rank may have otherwise than rank 0: where things are on its machine, and what is its own affair.
bool of_one_rank(const OptionField& field) {
  for (const char* name : {"data", "out", "threads", "interface", "quiet", "restarts"})
    if (field.name == std::string_view(name)) return true;
  return false;
}

// Options that all ranks must have alike, with glint's version; before anything is made of them.
void require_same_options(const TrainOptions& options, Team& team) {
  Team::Fields fields = {{"version of glint", version()}};
  for (const OptionField& field : option_table())
    if (!of_one_rank(field)) fields.emplace_back(str_cat("--", field.name), value_text(options, field));
  team.require_same(fields);
}

struct Start {
  fs::path root;      // the run folder
  bool fresh = true;  // otherwise it goes on
  bool seen = true;   // from here; otherwise the rank that leads says what the run is
};

void train_in_team(TrainOptions options, const Start& start, Team& team) {
  const auto& [root, fresh, seen] = start;
  if (!fresh) {
    const std::string led = team.text_of(0, to_json(options).dump());
    if (!seen) options = options_from_json(nlohmann::ordered_json::parse(led), "what rank 0 says");
  }
  require_same_options(options, team);
  RunFolder folder = !team.leads() ? RunFolder::follow(root) : fresh ? RunFolder::create(root) : RunFolder::open(root);
  team.comm().barrier();  // no further where that failed
  if (!fresh) folder.write_config(options);
  const int stop = fresh ? start_training(options, folder, team) : resume_training(options, folder, team);
  if (stop) throw ExitCode{128 + stop};
}

}  // namespace

void register_train(Command program) {
  Command command = program.add_command("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(command);
  command.run([flags] {
    const Ranks place = ranks_from_environment();
    Start start;
    start.fresh = flags->resume().empty();
    start.seen = start.fresh || place.rank == 0 || fs::exists(RunPaths{flags->resume()}.config());
    const TrainOptions options = start.fresh  ? flags->fresh()
                                 : start.seen ? flags->resumed(read_run_config(existing_run(flags->resume())))
                                              : flags->meeting();
    start.root = start.fresh ? fs::path(options.out) : flags->resume();
    if (place.source.empty() && options.ranks > 1) return launch_ranks(options.ranks, {start.root, options.restarts});
    GLINT_REQUIRE(options.ranks == place.size, "--ranks ", options.ranks, ", but ", place.source, " has started ",
                  place.size, ": leave --ranks out");
    run_as_rank(place, start.root, options, [&](Team& team) { train_in_team(options, start, team); });
  });
}

}  // namespace glint
