// glint import: a run from a Hugging Face GPT-2 or Llama.
#include <cstdio>

#include "data/durable.h"
#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/exchange/hf_model.h"
#include "train/run_folder.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

struct ImportFlags {
  std::string place, out, tokenizer;
};

void import_run(const ImportFlags& flags) {
  const RunPaths paths{flags.out};
  require_no_folder(paths.root, "a run");
  ImportedRun run = read_hf_model(flags.place, flags.tokenizer);
  run.options.out = flags.out;
  const Parameters& parameters = run.model->parameters();
  std::error_code error;
  if (paths.root.has_parent_path()) fs::create_directories(paths.root.parent_path(), error);
  DurableFolder folder(paths.root);
  CheckpointState state;
  state.rng_seed = run.options.seed, state.options = run.options;
  state.end_token = run.tokenizer.separator();
  save_checkpoint(folder.file(paths.last().filename()), tensor_views(parameters, parameters.values()), {}, {}, state);
  folder.write_text(paths.tokenizer().filename(), run.tokenizer.to_json());
  folder.write_text(paths.config().filename(), run_config(run.options));
  folder.commit();
  std::printf("%s, context %d, vocabulary %d: %zu parameters\n", run.model->describe().c_str(), run.model->context(),
              run.model->vocab(), parameters.count());
  if (run.left_out > 0)
    std::printf("%d rows of the embedding, for which there is no token, are left out\n", run.left_out);
  std::printf("%s holds last/: sample and eval take it, as does train --init-from %s\n", flags.out.c_str(),
              flags.out.c_str());
}

}  // namespace

void register_import(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("import", "Make a run of a GPT-2 or Llama in Hugging Face's format");
  const auto flags = std::make_shared<ImportFlags>();
  command
      .add_option("MODEL", flags->place, "Folder of config.json, safetensors and tokenizer.json; or its safetensors")
      ->required()
      ->type_name("DIR|FILE");
  command.add_option("--out", flags->out, "The run folder to make")->required()->type_name("RUN");
  command.add_option("--tokenizer", flags->tokenizer, "The model's tokenizer (default: the folder's)")
      ->type_name("PATH");
  command.callback([flags] { import_run(*flags); });
}

}  // namespace glint
