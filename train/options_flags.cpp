#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include <CLI/CLI.hpp>

#include "kernels/check.h"
#include "train/options_table.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

constexpr const char* kDropout = "dropout";  // a shorthand for three options, not one of its own
using Texts = std::map<std::string, std::string>;

// First the shorthand, then what is more special. `prefix` says in errors where the values came from.
void apply(TrainOptions& options, const Texts& values, const std::string& prefix) {
  if (const auto shorthand = values.find(kDropout); shorthand != values.end()) {
    float p = 0;
    const std::string problem = read_value(shorthand->second, p);
    GLINT_REQUIRE(problem.empty(), prefix, kDropout, ": ", problem);
    GLINT_REQUIRE(p >= 0 && p < 1, prefix, kDropout, " ", p, " is not in [0, 1)");
    options.model.embd_dropout = options.model.attn_dropout = options.model.resid_dropout = p;
  }
  for (const auto& [name, value] : values) {
    if (name == kDropout) continue;
    const OptionField* field = find_option(name);
    GLINT_REQUIRE(field, prefix, name, " is no option; see `glint train --help` for their names");
    const std::string problem = set_value(options, *field, value);
    GLINT_REQUIRE(problem.empty(), prefix, name, ": ", problem);
  }
}

// The keys of a TOML file. Only `name = value` lines: there are no tables among the options.
Texts read_toml(const fs::path& path) {
  std::ifstream stream(path);
  GLINT_REQUIRE(stream && !fs::is_directory(path), "cannot read --config ", path.string());
  Texts values;
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    throw UserError(text("--config ", path.string(), ": ", error.what()));
  }
  for (const CLI::ConfigItem& item : items) {
    const std::string key = item.name;
    GLINT_REQUIRE(item.parents.empty(), "--config ", path.string(), ": unknown table [", CLI::detail::join(item.parents, "."),
                  "]; options stand in none");
    GLINT_REQUIRE(key == kDropout || find_option(key), "--config ", path.string(), ": unknown key '", key, "'");
    GLINT_REQUIRE(item.inputs.size() == 1 && !values.contains(key), "--config ", path.string(), ": '", key,
                  "' wants one value, once");
    values[key] = item.inputs.front();
  }
  return values;
}

}  // namespace

struct TrainFlags::Given {
  std::string config, resume;
  Texts texts;  // what the command line gives, by name
};

TrainFlags::TrainFlags(CLI::App& command) : given_(std::make_unique<Given>()) {
  Given* given = given_.get();
  command.add_option("--config", given->config, "a TOML file with the same names as these flags; flags win over it")
      ->type_name("FILE")->group("Data and output");
  command.add_option("--resume", given->resume, "go on with this run folder; needs no other flag")
      ->type_name("RUN")->group("Data and output");
  const TrainOptions defaults;
  for (const OptionField& field : option_table()) {
    const bool is_switch = std::holds_alternative<Of<bool>>(field.member) || std::holds_alternative<OfModel<bool>>(field.member);
    const std::string name = field.name, flag = "--" + name;
    const std::string initial = field.shown_default ? field.shown_default : value_text(defaults, field);
    const auto keep = [given, &field, name, flag, is_switch](const std::string& value) {
      const std::string stated = is_switch && value.empty() ? "true" : value;  // a switch alone is on
      TrainOptions scratch;
      if (const std::string problem = set_value(scratch, field, stated); !problem.empty()) {
        throw CLI::ValidationError(flag, problem);
      }
      given->texts[name] = stated;
    };
    CLI::Option* option = command.add_option_function<std::string>(flag, keep, field.help);
    option->type_name(type_text(field))->group(field.group);
    if (is_switch) {
      option->expected(0, 1)->description(option->get_description() + " [" + initial + "]");  // a default_str would be its value
    } else {
      option->default_str(initial);
    }
    if (name != "activation") continue;
    const auto keep_dropout = [given](const std::string& value) {
      float p = 0;
      if (const std::string problem = read_value(value, p); !problem.empty()) throw CLI::ValidationError("--dropout", problem);
      given->texts[kDropout] = value;
    };
    command.add_option_function<std::string>("--dropout", keep_dropout, "sets all three of the following")
        ->type_name("NUMBER")->group(field.group)->default_str("0");
  }
}

TrainFlags::~TrainFlags() = default;

fs::path TrainFlags::resume() const { return given_->resume; }

TrainOptions TrainFlags::fresh() const {
  TrainOptions options;
  if (!given_->config.empty()) apply(options, read_toml(given_->config), "--config " + given_->config + ": ");
  apply(options, given_->texts, "--");
  options.complete();
  options.validate();
  return options;
}

TrainOptions TrainFlags::resumed(TrainOptions saved) const {
  saved.out = given_->resume;  // the folder may have moved since
  TrainOptions options = saved;
  if (!given_->config.empty()) apply(options, read_toml(given_->config), "--config " + given_->config + ": ");
  apply(options, given_->texts, "--");
  options.complete();
  for (const OptionField& field : option_table()) {
    if (field.on_resume == OnResume::free) continue;
    const std::string now = value_text(options, field), then = value_text(saved, field);
    GLINT_REQUIRE(now == then, "--", field.name, " ", now, " differs from the run's ", then.empty() ? "built-in corpus" : then,
                  ": a resumed run keeps its own; leave the flag out, or start a new run without --resume");
  }
  options.validate();
  return options;
}

}  // namespace glint
