// glint study: measures what the documents say about the kernels. Each study is a file of train/study.
#include "train/study/study.h"

#include "train/commands/commands.h"

namespace glint {

void register_study(CLI::App& program) {
  CLI::App& studies = *program.add_subcommand("study", "Measure the kernels, with tables and pictures");
  studies.require_subcommand(1);
  for (const auto add : {register_study_ladder, register_study_dropout, register_study_mask, register_study_gradients,
                         register_study_cost})
    add(studies);
}

}  // namespace glint
