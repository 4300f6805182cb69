// glint train: a new run, or the rest of one.

#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/trainer.h"

namespace glint {

void register_train(Command program) {
  Command command = program.add_command("train", "Train a GPT on a text, or on the built-in corpus");
  const auto flags = std::make_shared<TrainFlags>(command);
  command.run([flags] {
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
