// glint eval: the exact loss over every token of a split.
#include <cmath>
#include <cstdio>
#include <numbers>

#include <nlohmann/json.hpp>

#include "data/batches.h"
#include "train/commands/commands.h"
#include "train/evaluator.h"
#include "train/loaded_run.h"
#include "train/run_data.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

struct EvalFlags : DeviceFlags, RunFlags {
  std::string data;
  Split split = Split::val;
  int batch = 16;
  bool json = false;
  AttentionKind attention = AttentionKind::flash;
};

Dataset open_data(const EvalFlags& flags, const LoadedRun& run) {
  if (flags.data.empty()) return open_run_data(run.paths);
  if (!is_prepared(flags.data)) return Dataset::encode(fs::path(flags.data), run.tokenizer);
  Dataset data = Dataset::open(flags.data);
  GLINT_REQUIRE(data.tokenizer() == run.tokenizer, flags.data, " was prepared with another tokenizer than ", flags.run,
                " was trained with; give the text itself, or prepare it with --tokenizer-from ", flags.run);
  return data;
}

// Mean loss over non-overlapping windows of the context: every token but the split's first is predicted once.
double exact_loss(Model& model, const EvalFlags& flags, Dataset& data, const SequentialWindows& windows,
                  int loss_chunk) {
  const int batch = static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(flags.batch), windows.windows()));
  Evaluator evaluator(model, batch, model.context(), flags.attention, loss_chunk);
  for (uint64_t window = 0; window < windows.windows(); window += static_cast<uint64_t>(batch)) {
    evaluator.add([&](int32_t* tokens, int32_t* targets) {
      const uint64_t counted = windows.fill(tokens, targets, window, batch);
      data.require_unchanged();
      return counted;
    });
  }
  return evaluator.take_sum() / static_cast<double>(windows.predictions());
}

void evaluate(const EvalFlags& flags) {
  GLINT_REQUIRE(flags.batch >= 1, "--batch ", flags.batch, " is less than 1");
  LoadedRun run = load_run(flags, open_device(flags), dtype_of(flags.dtype));
  Dataset data = open_data(flags, run);
  const SequentialWindows windows(data.tokens(flags.split), run.model->context());
  const double loss = exact_loss(*run.model, flags, data, windows, run.state.options.loss_chunk);
  const double tokens = static_cast<double>(windows.predictions());
  // With unknown tokens neither means anything: the text can't be told from the tokens, and the model never saw them.
  const std::string unknown = data.describe_unknown(flags.split);
  const bool whole = unknown.empty() && data.predicted_bytes(flags.split) > 0;
  const double bits_per_byte =
      loss * tokens / std::numbers::ln2 / static_cast<double>(data.predicted_bytes(flags.split));
  const double entropy = flags.data.empty() ? data.entropy().value_or(0) : 0;
  if (flags.json) {
    nlohmann::ordered_json line = {{"split", name_of(flags.split)},
                                   {"step", run.state.step},
                                   {"tokens", windows.predictions()},
                                   {"loss", loss},
                                   {"perplexity", nullptr},
                                   {"bits_per_byte", nullptr},
                                   {"unknown_tokens", data.unknown(flags.split)}};
    if (whole) line["perplexity"] = std::exp(loss), line["bits_per_byte"] = bits_per_byte;
    else line["unknown_characters"] = nlohmann::ordered_json::parse(to_json(data.unknown_characters()));
    if (entropy > 0) line["entropy"] = entropy;
    std::printf("%s\n", line.dump().c_str());
    return;
  }
  std::printf("%s split, %.0f tokens, step %llu\nloss           %.4f nats per token\n", name_of(flags.split), tokens,
              static_cast<unsigned long long>(run.state.step), loss);
  if (whole) std::printf("perplexity     %.4f\nbits per byte  %.4f\n", std::exp(loss), bits_per_byte);
  else
    std::printf("unknown        %s\nno perplexity or bits per byte: the model does not know this text's characters\n",
                unknown.c_str());
  if (entropy > 0) std::printf("entropy        %.4f nats per token, of the corpus: no model can do better\n", entropy);
}

}  // namespace

void register_eval(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("eval", "The exact loss of a trained model over a whole split");
  const auto flags = std::make_shared<EvalFlags>();
  add_run_flags(command, *flags);
  add_option(command, "--data", flags->data,
             "Another text, folder of texts, or prepared folder (default: the run's own)");
  add_choice(command, "--split", flags->split, "Part of the data",
             {{"val", Split::val}, {"train", Split::train}, {"all", Split::all}});
  add_option(command, "--batch", flags->batch, "Sequences at a time");
  add_option(command, "--attention", flags->attention, "Attention kernel");
  add_device_flags(command, *flags);
  command.add_flag("--json", flags->json, "One JSON object on standard output");
  command.callback([flags] { evaluate(on_this_machine(*flags)); });
}

}  // namespace glint
