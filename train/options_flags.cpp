#include <algorithm>
#include <fstream>
#include <map>

#include "kernels/check.h"
#include "src/comm/ranks.h"
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
Texts read_config(const fs::path& path) {
  std::ifstream stream(path);
  GLINT_REQUIRE(stream && !fs::is_directory(path), "cannot read --config ", path.string());
  Texts values;
  std::vector<TomlEntry> entries;
  try {
    entries = read_toml(stream);
  } catch (const UsageError& error) {
    throw UserError(str_cat("--config ", path.string(), ": ", error.what()));
  }
  for (const auto& [tables, key, given] : entries) {
    GLINT_REQUIRE(tables.empty(), "--config ", path.string(), ": unknown table [", tables.front(),
                  "]; options stand in none");
    GLINT_REQUIRE(key == kDropout || find_option(key), "--config ", path.string(), ": unknown key '", key, "'");
    GLINT_REQUIRE(given.size() == 1 && !values.contains(key), "--config ", path.string(), ": '", key,
                  "' wants one value, once");
    values[key] = given.front();
  }
  return values;
}

bool is_switch(const OptionField& field) {
  return std::holds_alternative<Of<bool>>(field.member) || std::holds_alternative<OfModel<bool>>(field.member);
}

// A flag whose value, once it can be read, is kept as text in `given`.
void add_flag(Command command, const OptionField& field, Texts& given) {
  const bool alone = is_switch(field);
  const auto keep = [&field, &given, alone](const std::string& value) {
    const std::string stated = alone && value.empty() ? "true" : value;  // a switch alone is on
    TrainOptions scratch;
    const std::string problem = set_value(scratch, field, stated);
    if (problem.empty()) given[field.name] = stated;
    return problem;
  };
  const std::string initial = field.shown_default ? field.shown_default : value_text(TrainOptions(), field);
  command.add_text({str_cat("--", field.name), type_text(field), field.help, field.group, initial, alone}, keep);
}

void add_dropout(Command command, const std::string& group, Texts& given) {
  const auto keep = [&given](const std::string& value) {
    float p = 0;
    const std::string problem = read_value(value, p);
    if (problem.empty()) given[kDropout] = value;
    return problem;
  };
  command.add_text({"--dropout", "NUMBER", "sets all three of the following", group, "0"}, keep);
}

}  // namespace

struct TrainFlags::Given {
  std::string config, resume;
  Texts texts;  // what the command line gives, by name
};

TrainFlags::TrainFlags(Command command) : given_(std::make_unique<Given>()) {
  const OptionField& first = option_table().front();
  command.add("--config", given_->config, "a TOML file with the same names as these flags; flags win over it", "FILE",
              first.group);
  command.add("--resume", given_->resume, "go on with this run folder; needs no other flag", "RUN", first.group);
  for (const OptionField& field : option_table()) {
    if (field.name == std::string_view("attn-dropout")) add_dropout(command, field.group, given_->texts);
    add_flag(command, field, given_->texts);
  }
}

TrainFlags::~TrainFlags() = default;

fs::path TrainFlags::resume() const { return given_->resume; }

TrainOptions TrainFlags::fresh() const {
  TrainOptions options;
  if (!given_->config.empty()) apply(options, read_config(given_->config), "--config " + given_->config + ": ");
  apply(options, given_->texts, "--");
  options.complete();
  options.validate();
  return options;
}

TrainOptions TrainFlags::meeting() const {
  TrainOptions options;
  apply(options, given_->texts, "--");
  options.complete();
  return options;
}

TrainOptions TrainFlags::resumed(TrainOptions saved) const {
  saved.out = given_->resume;  // the folder may have moved since
  TrainOptions options = saved;
  const Ranks place = ranks_from_environment();
  const auto ranks_given = given_->texts.find("ranks");
  int ranks = ranks_given != given_->texts.end() ? std::stoi(ranks_given->second) : saved.ranks;
  if (!place.source.empty()) ranks = place.size;
  if (ranks != saved.ranks) options.fit_to(ranks);
  if (!given_->config.empty()) apply(options, read_config(given_->config), "--config " + given_->config + ": ");
  apply(options, given_->texts, "--");
  options.complete();
  for (const OptionField& field : option_table()) {
    if (field.on_resume == OnResume::free) continue;
    const std::string now = value_text(options, field), then = value_text(saved, field);
    GLINT_REQUIRE(now == then, "--", field.name, " ", now, " differs from the run's ",
                  then.empty() ? "built-in corpus" : then,
                  ": a resumed run keeps its own; leave the flag out, or start a new run without --resume");
  }
  options.validate();
  return options;
}

}  // namespace glint
