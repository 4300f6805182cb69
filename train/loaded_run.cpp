#include "train/loaded_run.h"

#include "kernels/check.h"
#include "train/command_line.h"
#include "train/tuning.h"

namespace glint {

std::filesystem::path checkpoint_of(const RunPaths& paths, WhichCheckpoint which) {
  const bool best =
      which == WhichCheckpoint::best || (which == WhichCheckpoint::automatic && has_checkpoint(paths.best()));
  const auto folder = best ? paths.best() : paths.last();
  GLINT_REQUIRE(has_checkpoint(folder), "no checkpoint in ", folder.string(),
                " yet; glint train writes one every --checkpoint-every steps");
  return folder;
}

void add_changed_flag(CLI::App& command, Changed& changed) {
  command.add_flag_callback(
      "--accept-changed", [&changed] { changed = Changed::accepted; },
      "Load weights that another program has written into the checkpoint");
}

void add_run_flags(CLI::App& command, RunFlags& flags) {
  command.add_option("RUN", flags.run, "Run folder")->required();
  add_option(command, "--checkpoint", flags.checkpoint, "Which one to read; auto: best if it exists, else last");
  add_changed_flag(command, flags.changed);
}

LoadedRun load_run(const RunFlags& flags, const Device& device, DType dtype) {
  LoadedRun run{existing_run(flags.run), {}, Tokenizer::of_bytes(), nullptr};
  const auto folder = checkpoint_of(run.paths, flags.checkpoint);
  run.tokenizer = Tokenizer::load(run.paths.tokenizer());
  run.state = read_checkpoint_state(folder);
  const GptConfig& config = run.state.options.model;
  GLINT_REQUIRE(config.vocab == run.tokenizer.vocabulary(), folder.string(), " has a vocabulary of ", config.vocab,
                ", ", run.paths.tokenizer().string(), " one of ", run.tokenizer.vocabulary(),
                ": they don't belong together");
  run.model = make_model(config, device, dtype);
  if (run.state.options.tune) use_tuned_products(device, run.paths.products());
  Parameters& parameters = run.model->parameters();
  HostCopy values(parameters, parameters.values());
  load_checkpoint(folder, tensor_views(parameters, values.data()), {}, {}, flags.changed);
  values.store();
  parameters.refresh_rounded();
  return run;
}

void load_initial(Model& model, const std::filesystem::path& run, Changed changed) {
  LoadedRun from = load_run({.run = run, .changed = changed}, CpuContext{}, DType::f32);
  Parameters& parameters = model.parameters();
  HostCopy values(parameters, parameters.values());
  for (const Parameter& target : parameters.all()) {
    for (const Parameter& source : from.model->parameters().all()) {
      if (source.name != target.name) continue;
      GLINT_REQUIRE(source.stored.elements() >= target.stored.elements(), run.string(), " has a smaller ", source.name);
      const float* const first = from.model->parameters().value_at(source.offset);
      std::copy_n(first, target.stored.elements(), values.of(target));
    }
  }
  values.store();
  parameters.refresh_rounded();
}

}  // namespace glint
