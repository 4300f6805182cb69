#include "train/command_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "kernels/check.h"

namespace glint {

namespace {

// The width of the terminal, or 120.
size_t columns() {
  winsize window{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 120;
}

// CLI11 writes a default after the type (--steps INT=2000); here it follows the description, in brackets.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string type = option->get_positional() ? "" : option->get_type_name();
    return (type.empty() ? "" : " " + type) + (option->get_required() ? " (required)" : "");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string initial = option->get_default_str();
    return wrapped(option->get_description() + (initial.empty() ? "" : " [" + initial + "]"));
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::ostringstream line;
    constexpr size_t kNames = 16;
    CLI::detail::format_help(line, command->get_name(), wrapped(command->get_description(), kNames), kNames);
    return line.str();
  }

 private:
  std::string wrapped(const std::string& description, size_t begin = 0) const {
    const size_t width = std::max<size_t>(30, columns() - std::min(columns(), begin ? begin : get_column_width()));
    std::istringstream words(description);
    std::string text, word;
    for (size_t at = 0; words >> word; at += word.size()) {
      const bool breaks = at > 0 && at + 1 + word.size() > width;
      if (at > 0) text += breaks ? '\n' : ' ', at = breaks ? 0 : at + 1;
      text += word;
    }
    return text;
  }
};

// The innermost command that was named.
const CLI::App* parsed_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return command;
}

// Letters to insert, leave out, replace or exchange with the next (Damerau and Levenshtein's distance).
size_t edits(std::string_view from, std::string_view to) {
  std::vector<std::vector<size_t>> best(from.size() + 1, std::vector<size_t>(to.size() + 1));
  for (size_t i = 0; i <= from.size(); ++i) {
    for (size_t j = 0; j <= to.size(); ++j) {
      size_t& here = best[i][j] = i + j;
      if (i > 0 && j > 0) {
        const size_t replaced = best[i - 1][j - 1] + (from[i - 1] != to[j - 1]);
        here = std::min({replaced, best[i - 1][j] + 1, best[i][j - 1] + 1});
      }
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
        here = std::min(here, best[i - 2][j - 2] + 1);
    }
  }
  return best[from.size()][to.size()];
}

// "; did you mean TO?", of the names of which one is near, or begins with the word.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& names) {
  size_t least = 1 + word.size() / 4;
  std::string likely;
  for (const std::string& name : names) {
    const size_t distance = word.size() > 3 && name.starts_with(word) ? 0 : edits(word, name);
    if (distance <= least && (distance < least || likely.empty())) least = distance, likely = name;
  }
  return likely.empty() ? "" : "; did you mean " + likely + "?";
}

// What is wrong with the command line, in a line.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = *parsed_command(app);
  std::string path = command.get_name(), list;
  for (const CLI::App* at = command.get_parent(); at; at = at->get_parent()) path = at->get_name() + " " + path;
  const std::string what = error.what();
  const bool required = dynamic_cast<const CLI::RequiredError*>(&error);
  const bool mismatch = dynamic_cast<const CLI::ArgumentMismatch*>(&error);
  const auto said = [&](const std::string& problem) {
    return problem + (problem.ends_with('?') ? " see " : "; see ") + path + " --help";
  };
  const size_t name_end = what.find(required ? ' ' : ':');
  const std::string name = what.substr(0, name_end);  // most messages begin with it
  const std::vector<std::string> unknown = app.remaining(true);
  std::vector<std::string> names;
  for (const CLI::App* known : command.get_subcommands([](const CLI::App*) { return true; })) {
    list += (list.empty() ? "" : "|") + known->get_name();
    names.push_back(known->get_name());
  }
  if (required && !names.empty()) {
    if (unknown.empty()) return said(path + " needs a command: " + list);
    const std::string meant = did_you_mean(unknown[0], names);
    return said("'" + unknown[0] + "' is no command of " + path + (meant.empty() ? ": " + list : meant));
  }
  if (required) return said(path + " needs " + name);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) && !unknown.empty()) {
    const auto flag = std::find_if(unknown.begin(), unknown.end(), [](auto& word) { return word.starts_with('-'); });
    if (flag == unknown.end()) return said(path + " takes no argument '" + unknown[0] + "'");
    for (const CLI::Option* option : command.get_options())
      for (const std::string& known : option->get_lnames()) names.push_back("--" + known);
    const std::string asked = "--" + flag->substr(std::min(flag->size(), flag->find_first_not_of('-')));
    return said("'" + *flag + "' is no flag of " + path + did_you_mean(asked.substr(0, asked.find('=')), names));
  }
  const std::string rest = name_end == what.npos ? "" : what.substr(name_end);
  if (mismatch && rest.starts_with(": At Most 1 required")) return name + " is given more than once";
  if (const size_t type = rest.find("required "); mismatch && rest.ends_with(" missing"))
    return said(name + " needs a value: " + rest.substr(type + 9, rest.size() - 8 - (type + 9)));
  if (dynamic_cast<const CLI::ConversionError*>(&error) && what.starts_with("Could not convert: "))
    return said(rest.substr(2, rest.find(" = ") - 2) + ": '" + rest.substr(rest.find(" = ") + 3) + "' is no number");
  return said(what);
}

}  // namespace

void format_help(CLI::App& app) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.get_formatter()->label("Positionals", "Arguments");
}

void parse(CLI::App& app, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // CLI11 reads them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success& asked) {  // for help or the version
    std::ostringstream help;
    app.exit(asked, help, help);
    std::fputs(help.str().c_str(), stdout);
  } catch (const CLI::ParseError& error) {
    throw UsageError(usage_problem(app, error));
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
  return message;
}

}  // namespace glint
