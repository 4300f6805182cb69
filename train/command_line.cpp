#include "train/command_line.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include <CLI/CLI.hpp>

namespace glint {

namespace {

// CLI11's own puts a default behind the type (--steps INT=2000); here it stands behind the description, in brackets.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string type = option->get_type_name();
    return (type.empty() ? "" : " " + type) + (option->get_required() ? " (required)" : "");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string initial = option->get_default_str();
    return option->get_description() + (initial.empty() ? "" : " [" + initial + "]");
  }
};

template <typename Value>
CLI::Option* add_number(CLI::App& app, const std::string& name, Value& value, const std::string& help) {
  return app.add_option(name, value, help)->capture_default_str();
}

}  // namespace

Command Command::add_command(const std::string& name, const std::string& help) {
  return Command(*app_->add_subcommand(name, help));
}

void Command::require_command() { app_->require_subcommand(1); }

void Command::run(std::function<void()> body) { app_->callback(std::move(body)); }

void Command::add(const std::string& name, int& value, const std::string& help) {
  add_number(*app_, name, value, help);
}
void Command::add(const std::string& name, int64_t& value, const std::string& help) {
  add_number(*app_, name, value, help);
}
void Command::add(const std::string& name, uint64_t& value, const std::string& help) {
  add_number(*app_, name, value, help);
}
void Command::add(const std::string& name, float& value, const std::string& help) {
  add_number(*app_, name, value, help);
}
void Command::add(const std::string& name, double& value, const std::string& help) {
  add_number(*app_, name, value, help);
}

void Command::add(const std::string& name, std::string& value, const std::string& help, const std::string& type,
                  const std::string& group) {
  app_->add_option(name, value, help)->type_name(type)->group(group);
}

void Command::add_required(const std::string& name, std::string& value, const std::string& help) {
  app_->add_option(name, value, help)->required();
}

void Command::add_count(const std::string& name, int& value, const std::string& help) {
  CLI::Validator range = CLI::Range(1, 100000);
  add_number(*app_, name, value, help)->check(range.description(""));
}

void Command::add_flag(const std::string& name, bool& value, const std::string& help) {
  app_->add_flag(name, value, help);
}

void Command::add_text(const TextFlag& flag, TextFlag::Read read) {
  const auto report = [name = flag.name, read = std::move(read)](const std::string& text) {
    const std::string problem = read(text);
    if (!problem.empty()) throw CLI::ValidationError(name, problem);
  };
  CLI::Option* option = app_->add_option_function<std::string>(flag.name, report, flag.help);
  option->type_name(flag.type)->group(flag.group);
  if (flag.may_stand_alone) {
    option->expected(0, 1);
    option->description(flag.help + " [" + flag.shown_default + "]");  // CLI11 would read a default_str in its place
  } else {
    option->default_str(flag.shown_default);
  }
}

void Command::add_one_of(const std::string& name, const std::string& help, const std::vector<std::string>& names,
                         size_t initial, std::function<void(size_t)> choose) {
  const std::string list = CLI::detail::join(names, "|");
  const auto read = [names, list, choose = std::move(choose)](const std::string& text) -> std::string {
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) return "'" + text + "' is none of " + list;
    choose(static_cast<size_t>(found - names.begin()));
    return "";
  };
  add_text({name, list, help, "Options", names[initial]}, read);
}

CommandLine::CommandLine(const std::string& name, const std::string& help, const std::string& version)
    : app_(std::make_unique<CLI::App>(help, name)) {
  app_->set_version_flag("--version", version);
  app_->formatter(std::make_shared<HelpFormatter>());
  app_->get_formatter()->column_width(34);
  app_->failure_message([](const CLI::App* app, const CLI::Error& error) {
    return std::string(error.what()) + "; see " + app->get_name() + " --help";
  });
}

CommandLine::~CommandLine() = default;

Command CommandLine::program() { return Command(*app_); }

void CommandLine::run(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // CLI11 wants them last first
  try {
    app_->parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, problem;
    if (app_->exit(error, help, problem) != 0) throw UsageError(problem.str());
    std::fputs(help.str().c_str(), stdout);
  }
}

std::vector<TomlEntry> read_toml(std::istream& stream) {
  try {
    std::vector<TomlEntry> entries;
    for (CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      entries.push_back({std::move(item.parents), std::move(item.name), std::move(item.inputs)});
    }
    return entries;
  } catch (const CLI::Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace glint
