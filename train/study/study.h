// What the studies share: the flags, the folder, units of work that are kept, progress, and the page.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/descriptor.h"
#include "train/command_line.h"

namespace glint {

struct StudyFlags {
  std::string out;
  bool quick = false;
};
// Adds the command of a study, with --out and --quick.
CLI::App& add_study(CLI::App& studies, const std::string& name, const std::string& help, StudyFlags& flags);
// With --quick: sets what the command line has not given.
template <typename Value>
void quick_value(const CLI::App& command, const StudyFlags& flags, const std::string& option, Value& value,
                 const Value& quick) {
  if (flags.quick && command.get_option(option)->count() == 0) value = quick;
}

// A unit of work, such as a training run. Its result is kept in DIR/done/NAME.json, so that the study goes on after it.
struct StudyUnit {
  // Says how much of the unit is done, 0 to 1; call it often. Throws if the study is to end.
  using PartDone = std::function<void(double)>;

  std::string name;                   // its file and its progress line: "p0.1-seed2"
  double cost = 1;                    // against the other units, for the time left
  nlohmann::ordered_json settings{};  // what its result depends on beyond the settings of the study
  std::function<nlohmann::ordered_json(const PartDone&)> work;
};

class Study {
 public:
  // Opens (or creates) the folder and locks it. settings: the value of each flag by its name without dashes, from which
  // the page has its command line: {"heads": 2, "context": [128, 256]}. UserError if the folder is in use, can't be
  // written, or holds something else: another study, other settings, other files. device: a GPU's name, for the page.
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
// "%.3g" of one value.
std::string formatted(const char* format, double value);

// Add the studies to `glint study`.
void register_study_ladder(CLI::App& studies);
void register_study_dropout(CLI::App& studies);
void register_study_mask(CLI::App& studies);
void register_study_gradients(CLI::App& studies);
void register_study_cost(CLI::App& studies);

}  // namespace glint
