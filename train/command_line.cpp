#include "train/command_line.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "kernels/check.h"

namespace glint {

namespace {

// CLI11 writes a default after the type (--steps INT=2000); here it follows the description, in brackets.
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

// The innermost command that was named.
const CLI::App* parsed_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return command;
}

// What is missing: a flag, or a command, of which the message lists those there are.
std::string missing_message(const CLI::App& app, const std::string& what) {
  const CLI::App& command = *parsed_command(app);
  std::string path = command.get_name(), list;
  for (const CLI::App* at = command.get_parent(); at; at = at->get_parent()) path = at->get_name() + " " + path;
  for (const CLI::App* known : command.get_subcommands([](const CLI::App*) { return true; }))
    list += (list.empty() ? "" : "|") + known->get_name();
  const std::vector<std::string> unknown = command.remaining();
  const std::string problem = list.empty()      ? what
                              : unknown.empty() ? path + " needs a command: " + list
                                                : "'" + unknown[0] + "' is no command of " + path + ": " + list;
  return problem + "; see " + path + " --help";
}

}  // namespace

void format_help(CLI::App& app) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(34);
  app.failure_message([](const CLI::App* command, const CLI::Error& error) {
    return std::string(error.what()) + "; see " + command->get_name() + " --help";
  });
}

void parse(CLI::App& app, std::vector<std::string> arguments) {
  for (const std::string& argument : arguments)  // CLI11 would take the next argument for the value
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1)
      throw UsageError(argument + " has no value");
  std::reverse(arguments.begin(), arguments.end());  // CLI11 reads them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string what = error.what();
    if (const size_t at = what.find(": At Most 1 required"); at != std::string::npos)
      throw UsageError(what.substr(0, at) + " is given more than once");
    throw UsageError(what);
  } catch (const CLI::RequiredError& error) {
    throw UsageError(missing_message(app, error.what()));
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, problem;
    if (app.exit(error, help, problem) != 0) throw UsageError(problem.str());
    std::fputs(help.str().c_str(), stdout);
  }
}

void write_out(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  GLINT_REQUIRE(written && std::fflush(stdout) == 0 && !std::ferror(stdout),
                "standard output can't be written (closed, or its disk is full)");
}

std::string with_flags(const CLI::App& app, std::string message) {
  for (const CLI::Option* option : parsed_command(app)->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      std::string field = "`" + name + "`";
      std::replace(field.begin(), field.end(), '-', '_');
      for (size_t at; (at = message.find(field)) != std::string::npos;) message.replace(at, field.size(), "--" + name);
    }
  }
  const bool one_flag = parsed_command(app)->get_option_no_throw("--dropout");  // that sets all three
  for (const char* field : {"`embd_dropout`", "`attn_dropout`", "`resid_dropout`"})
    if (const size_t at = message.find(field); one_flag && at != std::string::npos)
      message.replace(at, std::string_view(field).size(), "--dropout");
  return message;
}

}  // namespace glint
