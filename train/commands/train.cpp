// glint train: a new run, or the rest of one; by one process, or by several ranks that share each batch.
#include <filesystem>

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/launcher.h"
#include "train/trainer.h"

namespace glint {

namespace {

void train_as_rank(const TrainFlags& flags, TrainOptions options, const Ranks& place) {
  const bool fresh = flags.resume().empty();
  const std::filesystem::path root = fresh ? std::filesystem::path(options.out) : flags.resume();
  Team team(place, root, options.comm_timeout);
  try {
    RunFolder folder = !team.leads() ? RunFolder::follow(root) : fresh ? RunFolder::create(root) : RunFolder::open(root);
    team.comm().barrier();
    if (fresh) {
      start_training(options, folder, team);
    } else {
      folder.write_config(options);
      resume_training(options, folder, team);
    }
  } catch (const PeerError& error) {
    // One rank tells: the leading one, or where that one died the next. (What it gave up for it has told itself.)
    const bool leader_died = error.rank == 0 && std::string(error.what()).find("gave up") == std::string::npos;
    if (team.leads() || (leader_died && team.rank() == 1)) throw;
    throw ExitCode{1};
  } catch (const std::exception& error) {
    team.comm().give_up(error.what());
    if (team.leads()) throw;
    throw ExitCode{1};
  }
}

}  // namespace

void register_train(Command program) {
  Command command = program.add_command("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(command);
  command.run([flags] {
    const Ranks place = ranks_from_environment();
    const TrainOptions options = flags->resume().empty() ? flags->fresh() : flags->resumed(read_run_config(existing_run(flags->resume())));
    if (place.source.empty() && options.ranks > 1) {
      const int code = launch_ranks(options.ranks);
      if (code != 0) throw ExitCode{code};
      return;
    }
    GLINT_REQUIRE(options.ranks == place.size, "--ranks ", options.ranks, ", but ", place.source, " has started ", place.size,
                  ": leave --ranks out");
    train_as_rank(*flags, options, place);
  });
}

}  // namespace glint
