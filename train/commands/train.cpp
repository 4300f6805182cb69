// glint train: a new run, or the rest of one.
#include <CLI/CLI.hpp>

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/trainer.h"

namespace glint {

void register_train(CLI::App& program) {
  CLI::App* command = program.add_subcommand("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(*command);
  command->callback([flags] {
    if (flags->resume().empty()) {
      const TrainOptions options = flags->fresh();
      RunFolder folder = RunFolder::create(options.out);
      start_training(options, folder);
    } else {
      RunFolder folder = RunFolder::open(flags->resume());
      const TrainOptions options = flags->resumed(read_run_config(folder.paths()));
      folder.write_config(options);
      resume_training(options, folder);
    }
  });
}

}  // namespace glint
