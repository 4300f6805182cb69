// Small helpers to declare flags the same way in every command.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace glint {

// --name one|two|three; anything else is a usage error. The default shown is `value`'s name.
template <typename Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, Enum& value, const std::string& help,
                        std::initializer_list<std::pair<const char*, Enum>> choices) {
  std::vector<std::pair<std::string, Enum>> map;
  std::string names, initial;
  for (const auto& [name, choice] : choices) {
    map.emplace_back(name, choice);
    names += (names.empty() ? "" : "|") + std::string(name);
    if (choice == value) initial = name;
  }
  const auto read = [&value, map, flag, names](const std::string& text) {
    for (const auto& [name, choice] : map) {
      if (name != text) continue;
      value = choice;
      return;
    }
    throw CLI::ValidationError(flag, "'" + text + "' is none of " + names);
  };
  return app.add_option_function<std::string>(flag, read, help)->type_name(names)->default_str(initial);
}

// --name true|false
inline CLI::Option* add_switch(CLI::App& app, const std::string& flag, bool& value, const std::string& help) {
  return add_choice(app, flag, value, help, {{"true", true}, {"false", false}});
}

}  // namespace glint
