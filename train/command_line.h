// What glint adds to CLI11: flags that take names, defaults in brackets in the help, and errors of one line.
#pragma once

#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <CLI/CLI.hpp>

#include "train/options.h"

namespace glint {

// The command line is wrong; the message names the flag.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Sets the format of help and error messages. Call it before adding commands, which inherit the format.
void format_help(CLI::App& app);
// Parses the arguments (without the program's name) and runs the command, or prints the help or version that they ask
// for. Throws UsageError, and whatever the command throws.
void parse(CLI::App& app, std::vector<std::string> arguments);
// Writes text to standard output at once. Throws if it can't, for example to a full disk.
void write_out(std::string_view text);
// The message with fields in backquotes (`kv_heads`) replaced by the flags of the parsed command (--kv-heads).
std::string with_flags(const CLI::App& app, std::string message);

// Adds --name one|two|three. A bool without a value is true.
template <typename Choice>
CLI::Option* add_choice(CLI::App& app, const std::string& name, Choice& value, const std::string& help,
                        const Names<Choice>& names) {
  std::string list, initial;
  for (const auto& [known, choice] : names) {
    list += (list.empty() ? "" : "|") + std::string(known);
    if (choice == value) initial = known;
  }
  constexpr bool kValueOptional = std::is_same_v<Choice, bool>;
  const auto read = [=, &value](const std::string& text) {
    for (const auto& [known, choice] : names)
      if (text == known || (kValueOptional && text.empty())) return static_cast<void>(value = choice);
    throw CLI::ValidationError(name, "'" + text + "' is none of " + list);
  };
  CLI::Option* option = app.add_option_function<std::string>(name, read, help)->type_name(list);
  // With expected(0, 1), CLI11 would take a default_str as the value of a flag without one.
  return kValueOptional ? option->expected(0, 1)->description(help + " [" + initial + "]")
                        : option->default_str(initial);
}

// What CLI11 accepts as a number but no option does: "-1" for an unsigned one, "nan", "inf".
template <typename Value>
std::string number_problem(const std::string& text) {
  if (std::is_unsigned_v<Value> && text.starts_with('-')) return "'" + text + "' is negative";
  Value number{};
  const bool infinite = CLI::detail::lexical_cast(text, number) && !std::isfinite(static_cast<double>(number));
  return infinite ? "'" + text + "' is not a finite number" : "";
}

// Adds --name VALUE, with the variable's value as the default that the help shows (none for text).
template <typename Value>
CLI::Option* add_option(CLI::App& app, const std::string& name, Value& value, const std::string& help) {
  if constexpr (std::is_enum_v<Value> || std::is_same_v<Value, bool>) {
    return add_choice(app, name, value, help, names_of(Value{}));
  } else {
    CLI::Option* option = app.add_option(name, value, help);
    if constexpr (std::is_arithmetic_v<Value>) option->capture_default_str()->check(number_problem<Value>);
    return option;
  }
}

// A number of repetitions.
inline const CLI::Validator kCount = CLI::Range(1, 100000).description("");
inline CLI::Option* add_count(CLI::App& app, const std::string& name, int& value, const std::string& help) {
  return add_option(app, name, value, help)->check(kCount);
}

}  // namespace glint
