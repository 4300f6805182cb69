#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "src/comm/ranks.h"
#include "train/command_line.h"
#include "train/loaded_run.h"
#include "train/options_table.h"
#include "train/text.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

using Arguments = std::vector<std::string>;

// Parses the arguments over the options.
void apply_flags(TrainOptions& options, const Arguments& arguments) {
  CLI::App app;
  app.set_help_flag();
  add_train_options(app, options);
  try {
    app.parse(Arguments(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    throw UserError(error.what());
  }
}

TrainOptions read_options_of(const fs::path& root) {
  return read_checkpoint_state(checkpoint_of(existing_run(root), WhichCheckpoint::automatic)).options;
}

// The defaults of a run that begins with another one's weights.
TrainOptions shape_of(const TrainOptions& from) {
  TrainOptions options;
  options.model = from.model;
  options.model.attn_dropout = options.model.resid_dropout = options.model.embd_dropout = 0;
  options.tokenizer = from.tokenizer;
  return options;
}

void require_same_shape(const TrainOptions& from, const TrainOptions& options, const char* flag) {
  const auto a = to_json(from), b = to_json(options);
  for (const char* name : {"model", "layers", "heads", "kv-heads", "embd", "bias", "norm-epsilon", "tie-embeddings",
                           "activation", "rope-theta", "qk-norm", "tokenizer"})
    GLINT_REQUIRE(a[name] == b[name], "--", name, " differs from that of the run of ", flag, ": leave it out");
  GLINT_REQUIRE(options.model.context <= from.model.context, "--context ", options.model.context,
                " is longer than the ", from.model.context, " of the run of ", flag);
}

}  // namespace

void add_train_options(CLI::App& app, TrainOptions& options, const std::vector<std::string_view>& names) {
  const auto wanted = [&](std::string_view name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  for_each_option(options, [&]<typename Value>(Value& value, OptionInfo info) {
    if (!names.empty()) info.group = "Options";  // CLI11's own
    // Before the options it sets, so that those override it.
    if (info.name == std::string_view("attn-dropout") && wanted("dropout")) {
      const auto set = [&m = options.model](float p) {
        GLINT_REQUIRE(p >= 0 && p < 1, "--dropout ", p, " is not in [0, 1)");
        m.embd_dropout = m.attn_dropout = m.resid_dropout = p;
      };
      app.add_option_function<float>("--dropout", set, "Drop probability of all three sites")
          ->default_str("0")
          ->group(info.group);
    }
    if (!wanted(info.name)) return;
    CLI::Option* option = add_option(app, std::string("--") + info.name, value, info.help)->group(info.group);
    if (info.shown_default) option->default_str(info.shown_default);
    else if constexpr (std::is_same_v<Value, std::string>) option->default_str(value);
  });
}

TrainFlags::TrainFlags(CLI::App& app) : app_(app) {
  const char* group = "Data and output";
  app.add_option("--config", config_, "a TOML file with the same names as these flags, which override it")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--resume", resume_, "continue this run; needs no other flag")->type_name("RUN")->group(group);
  add_train_options(app, parsed_);
}

TrainOptions TrainFlags::applied_to(TrainOptions options) const {
  if (!config_.empty()) apply_config(options, config_);
  Arguments given;
  for (const CLI::Option* option : app_.get_options()) {
    const std::string name = option->get_name();
    if (option->count() == 0 || name == "--config" || name == "--resume" || name == "--accept-changed") continue;
    given.push_back(name);
    given.insert(given.end(), option->results().begin(), option->results().end());
  }
  apply_flags(options, given);
  return options;
}

bool TrainFlags::gives_data() const { return app_.count("--data") + app_.count("--val-data") > 0; }

TrainOptions TrainFlags::unvalidated() const {
  TrainOptions options = applied_to({});
  if (!options.init_from.empty()) {
    const TrainOptions from = shape_of(read_options_of(options.init_from));
    options = applied_to(from);
    require_same_shape(from, options, "--init-from");
  }
  options.complete();
  return options;
}

TrainOptions TrainFlags::fresh() const {
  const TrainOptions options = unvalidated();
  TrainOptions of_file;
  const std::set<std::string> in_file = config_.empty() ? std::set<std::string>() : apply_config(of_file, config_);
  // A file may have both, and a flag then take the second away.
  const auto require_both = [&](const std::string& name, const char* other, const auto& has_other) {
    const bool alone_in_file = in_file.contains(name) && !has_other(of_file);
    GLINT_REQUIRE(has_other(options) || (app_.count("--" + name) == 0 && !alone_in_file),
                  alone_in_file ? "--config " + config_ + ": " + name : "--" + name, " goes with ", other);
  };
  require_both("vocab", "--tokenizer bpe", [](const TrainOptions& o) { return o.tokenizer == "bpe"; });
  require_both("decay-part", "--schedule wsd", [](const TrainOptions& o) { return o.schedule == Schedule::wsd; });
  require_both("muon-momentum", "--optimizer muon",
               [](const TrainOptions& o) { return o.optimizer == Optimizer::muon; });
  options.validate();
  return options;
}

TrainOptions TrainFlags::of_import(const TrainOptions& imported) const {
  const TrainOptions from = shape_of(imported);
  TrainOptions options = applied_to(from);
  require_same_shape(from, options, "--resume");
  GLINT_REQUIRE(options.model.context == from.model.context, "--context ", options.model.context, " differs from the ",
                from.model.context, " of the run: a shorter one goes with --init-from ", resume_);
  GLINT_REQUIRE(options.init_from.empty(), "--init-from does not go with --resume: leave one of them out");
  GLINT_REQUIRE(!options.data.empty(), resume_, " was imported and has no data: say by --data what to train it on");
  options.out = resume_;
  options.complete();
  options.validate();
  return options;
}

TrainOptions TrainFlags::resumed(TrainOptions saved) const {
  saved.out = resume_;  // the folder may have moved
  const Ranks place = ranks_from_environment();
  TrainOptions options = applied_to(saved);
  if (const int ranks = place.source.empty() ? options.ranks : place.size; ranks != saved.ranks) {
    TrainOptions fitted = saved;
    fitted.fit_to(ranks);
    options = applied_to(fitted);
  }
  options.complete();
  const nlohmann::ordered_json now = to_json(options), then = to_json(saved);
  for_each_option(options, [&](const auto&, const OptionInfo& info) {
    if (info.on_resume == OnResume::free || info.on_resume == OnResume::moved || now[info.name] == then[info.name])
      return;
    throw UserError(str_cat("--", info.name, " ", plain_text(now[info.name]), " differs from the run's ",
                            plain_text(then[info.name]),
                            ": a resumed run keeps its own; leave the flag out, or start a new run without --resume"));
  });
  options.validate();
  return options;
}

void add_model_flags(CLI::App& app, TrainOptions& options, std::vector<std::string_view> names) {
  names.insert(names.end(), kShapeOptions.begin(), kShapeOptions.end());
  add_train_options(app, options, names);
  add_option(app, "--vocab", options.model.vocab, "Vocabulary");
}

void add_device_flags(CLI::App& app, DeviceFlags& flags) {
  add_option(app, "--device", flags.device, "Where to compute");
  add_option(app, "--dtype", flags.dtype, "Number format of the activations");
  add_option(app, "--threads", flags.threads, "CPU threads; 0: all");
  add_option(app, "--matmul", flags.matmul, "Matrix product library of the CPU");
  add_option(app, "--tf32", flags.tf32, "fp32 products on a GPU may round their inputs to 10 bits: faster");
}

void add_sampling_flags(CLI::App& app, SamplingOptions& sampling) {
  add_option(app, "--temperature", sampling.temperature,
             "Below 1: more likely text, above 1: more random; 0: always the likeliest token");
  add_option(app, "--top-k", sampling.top_k, "Draw from the k likeliest tokens; 0: all");
  add_option(app, "--top-p", sampling.top_p, "Draw from the likeliest tokens with this total probability");
  add_option(app, "--min-p", sampling.min_p, "Draw from tokens at least this times as likely as the likeliest");
  add_option(app, "--repetition-penalty", sampling.repetition_penalty,
             "Above 1: tokens of the prompt and the text so far are less likely");
}

}  // namespace glint
