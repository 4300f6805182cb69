// The command line: commands, and what they take. The library that reads it (CLI11) is known to command_line.cpp alone.
//
//   CommandLine line("glint", "Trains small GPTs.", "glint 1.0");
//   Command mask = line.program().add_command("mask", "Show a mask");
//   mask.add("--seed", flags->seed, "Key");  // flags must live as long as `line`
//   mask.run([flags] { ... });
//   line.run(argc, argv);
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace glint {

// What a user typed makes no sense; the message names the flag.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A flag whose text a function reads; the function returns what is wrong with it, or "".
struct TextFlag {
  using Read = std::function<std::string(const std::string&)>;
  std::string name, type, help, group;
  std::string shown_default;
  bool may_stand_alone = false;  // without a value; read("") then
};

// The program or one of its commands. In what is added a name without dashes is a positional argument, and the help
// shows the variable's value as the default (none for text).
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  Command add_command(const std::string& name, const std::string& help);
  void require_command();                // one of them must follow
  void run(std::function<void()> body);  // called once the whole line is read

  void add(const std::string& name, int& value, const std::string& help);
  void add(const std::string& name, int64_t& value, const std::string& help);
  void add(const std::string& name, uint64_t& value, const std::string& help);
  void add(const std::string& name, float& value, const std::string& help);
  void add(const std::string& name, double& value, const std::string& help);
  void add(const std::string& name, std::string& value, const std::string& help, const std::string& type = "TEXT",
           const std::string& group = "Options");
  void add_required(const std::string& name, std::string& value, const std::string& help);
  void add_count(const std::string& name, int& value, const std::string& help);  // 1 .. 100000
  void add_flag(const std::string& name, bool& value, const std::string& help);  // true if it is there
  void add_text(const TextFlag& flag, TextFlag::Read read);

  // --name one|two|three
  template <typename Choice>
  void add_choice(const std::string& name, Choice& value, const std::string& help,
                  std::initializer_list<std::pair<const char*, Choice>> choices) {
    std::vector<std::string> names;
    std::vector<Choice> values;
    size_t initial = 0;
    for (const auto& [choice_name, choice] : choices) {
      if (choice == value) initial = values.size();
      names.emplace_back(choice_name);
      values.push_back(choice);
    }
    add_one_of(name, help, names, initial, [&value, values](size_t chosen) { value = values[chosen]; });
  }
  // --name true|false
  void add_switch(const std::string& name, bool& value, const std::string& help) {
    add_choice(name, value, help, {{"true", true}, {"false", false}});
  }

 private:
  void add_one_of(const std::string& name, const std::string& help, const std::vector<std::string>& names,
                  size_t initial, std::function<void(size_t)> choose);

  CLI::App* app_;
};

class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& help, const std::string& version);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Command program();
  // Reads the arguments (the program's own name is not among them) and runs the command they name, or prints the help
  // or the version if they ask for it. Throws UsageError, and whatever the command throws.
  void run(std::vector<std::string> arguments);

 private:
  std::unique_ptr<CLI::App> app_;
};

// One `key = value` of a TOML file: the tables it stands in, and its values (several if it is an array).
struct TomlEntry {
  std::vector<std::string> tables;
  std::string key;
  std::vector<std::string> values;
};

// Throws UsageError saying what is wrong.
std::vector<TomlEntry> read_toml(std::istream& stream);

}  // namespace glint
