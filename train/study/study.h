// What the studies share: the flags, the folder, units of work that are kept, progress, and the page.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/descriptor.h"
#include "train/command_line.h"
#include "train/text.h"

namespace glint {

// A flag that the results of a study depend on.
struct StudySetting {
  std::string name;  // without dashes
  std::function<nlohmann::ordered_json()> value;
  std::function<void()> complete;  // after parsing
};
struct StudyFlags {
  std::string out;
  bool quick = false;
  std::vector<StudySetting> all{};

  nlohmann::ordered_json settings() const;  // {"heads": 2, "context": [128, 256]}
};
// A value as a flag has it: "128,256".
std::string flag_text(const nlohmann::ordered_json& value);

// The command of a study, with --out and --quick.
class StudyCommand {
 public:
  StudyCommand(CLI::App& studies, const std::string& name, const std::string& help, StudyFlags& flags);

  // Adds a setting. quick: its value in a quick study, if the command line gives none. Lists of numbers get sorted.
  template <typename Value>
  CLI::Option* add(const std::string& name, Value& value, const std::string& help,
                   const std::type_identity_t<std::optional<Value>>& quick = {}) {
    CLI::Option* option = add_option(app, "--" + name, value, help);
    const auto json = [&value]() -> nlohmann::ordered_json {
      if constexpr (std::is_enum_v<Value>) return choice_name(value);
      else if constexpr (std::is_same_v<Value, float>) return shortest(value);
      else return value;
    };
    if (json().is_array()) option->delimiter(',')->type_name("LIST")->default_str(flag_text(json()));
    flags_.all.push_back({name, json, [&flags = flags_, &value, option, quick] {
                            if (quick && flags.quick && option->count() == 0) value = *quick;
                            if constexpr (std::is_same_v<Value, std::vector<int>>) {
                              std::sort(value.begin(), value.end());
                              value.erase(std::unique(value.begin(), value.end()), value.end());
                            }
                          }});
    return option;
  }
  // Calls study() once the flags are parsed.
  void run(const std::function<void()>& study);

  CLI::App& app;

 private:
  StudyFlags& flags_;
};

// Says how much of a unit is done, 0 to 1; call it often. Throws if the study is to end.
using PartDone = std::function<void(double)>;

// A unit of work, such as a training run. Its result is kept in DIR/done/NAME.json, so that the study goes on after it.
struct StudyUnit {
  std::string name;                   // its file and its progress line: "p0.1-seed2"
  double cost = 1;                    // against the other units, for the time left
  nlohmann::ordered_json settings{};  // what its result depends on beyond the settings of the study
  std::function<nlohmann::ordered_json(const PartDone&)> work;
};

class Study {
 public:
  // Opens (or creates) the folder and locks it. The page has its command line from the settings. UserError if the
  // folder is in use, can't be written, or holds something else: another study, other settings, other files. device: a
  // GPU's name, for the page.
  Study(const std::string& name, const StudyFlags& flags, nlohmann::ordered_json settings,
        const std::string& device = "cpu");

  // The results of the units, in their order: kept ones, or new ones. On SIGINT, SIGTERM and SIGHUP the study ends,
  // after a line that says how to go on.
  std::vector<nlohmann::ordered_json> run(const std::vector<StudyUnit>& units);

  // Writes a file of the folder, atomically: a picture, JSON.
  void write(const std::string& file, std::string_view content) const;
  void write_json(const std::string& file, const nlohmann::ordered_json& json) const;
  // Writes study.md, the last of the files: title, command, machine and time, then `body`; prints where it is.
  void write_page(const std::string& title, const std::string& body) const;

 private:
  std::filesystem::path record_of(const StudyUnit& unit) const;
  std::optional<nlohmann::ordered_json> kept(const StudyUnit& unit) const;  // its record

  std::string name_, machine_;
  std::filesystem::path folder_;
  nlohmann::ordered_json settings_;
  Descriptor lock_;
  std::vector<std::string> machines_{};  // of the units
  double seconds_ = 0;                   // of the units
};

// "a | b | c" as a row of a table in Markdown; the first row of a table is its head.
std::string markdown_table(const std::vector<std::vector<std::string>>& rows);

// Each adds its command to `glint study`.
void register_study_ladder(CLI::App& studies);
void register_study_dropout(CLI::App& studies);
void register_study_mask(CLI::App& studies);
void register_study_gradients(CLI::App& studies);
void register_study_cost(CLI::App& studies);

}  // namespace glint
