#include "train/study/study.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>
#include <optional>

#include "data/file_writer.h"
#include "src/clock.h"
#include "src/machine.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/signals.h"

namespace glint {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

// {"heads": 2} -> "--heads 2"; what has an empty value is left out.
std::string flags_text(const ordered_json& settings) {
  std::string line;
  for (const auto& [flag, value] : settings.items()) {
    const std::string text = flag_text(value);
    if (!text.empty()) line += str_cat(line.empty() ? "" : " ", "--", flag, " ", text);
  }
  return line;
}

// The first flag whose value differs, as "--heads 4 instead of 2".
std::string difference(const ordered_json& known, const ordered_json& asked) {
  for (const auto& [flag, value] : known.items()) {
    const std::string now = asked.contains(flag) ? flag_text(asked[flag]) : "none";
    if (flag_text(value) != now) return str_cat("--", flag, " ", flag_text(value), " instead of ", now);
  }
  return "other flags";
}

ordered_json kept_json(const fs::path& path) {
  const auto content = read_file(path);
  return content ? ordered_json::parse(*content, nullptr, false) : ordered_json();
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

// A line per unit, or one live line, with the time that is left by the units' costs.
class UnitProgress {
 public:
  UnitProgress(size_t units, double cost) : units_(units), left_(cost) {}
  void begin(size_t index, const StudyUnit& unit) {
    line_ = str_cat(index + 1, "/", units_, "  ", unit.name);
    cost_ = unit.cost;
    show(0);
  }
  void part_done(double share) {
    if (progress_.is_terminal() && seconds_now() - shown_ > 0.2) show(share * cost_);
  }
  void end() {
    left_ -= cost_;
    done_ += cost_;
  }

 private:
  void show(double of_this) {
    shown_ = seconds_now();
    const double done = done_ + of_this;
    const double seconds = (shown_ - start_) / done * (left_ - of_this);
    progress_.show(done > 0 ? line_ + "  " + duration_text(seconds) + " left" : line_);
  }

  Progress progress_{{}};
  size_t units_;
  std::string line_{};
  double start_ = seconds_now(), shown_ = 0, left_, done_ = 0, cost_ = 0;
};

}  // namespace

ordered_json StudyFlags::settings() const {
  auto values = ordered_json::object();
  for (const StudySetting& setting : all) values[setting.name] = setting.value();
  return values;
}

std::string flag_text(const ordered_json& value) {
  if (!value.is_array()) return plain_text(value);
  std::string list;
  for (const ordered_json& item : value) list += (list.empty() ? "" : ",") + flag_text(item);
  return list;
}

StudyCommand::StudyCommand(CLI::App& studies, const std::string& name, const std::string& help, StudyFlags& flags)
    : app(*studies.add_subcommand(name, help)), flags_(flags) {
  app.add_option("--out", flags.out, "Folder for study.md, pictures and JSON; an interrupted study goes on in it")
      ->type_name("DIR")
      ->required();
  app.add_flag("--quick", flags.quick, "Small sizes: seconds");
}

void StudyCommand::run(const std::function<void()>& study) {
  app.callback([&flags = flags_, study] {
    for (const StudySetting& setting : flags.all) setting.complete();
    study();
  });
}

Study::Study(const std::string& name, const StudyFlags& flags, ordered_json settings, const std::string& device)
    : name_(name),
      machine_(str_cat(device == "cpu" ? "" : device + ", ", cpu_name(), ", ", compiled_vectors())),
      folder_(flags.out),
      settings_(std::move(settings)) {
  std::error_code failed;
  fs::create_directories(folder_, failed);
  GLINT_REQUIRE(!failed, "--out ", flags.out, " can't be created: ", failed.message());
  if (!fs::exists(folder_ / "done", failed)) {
    for (const auto& entry : fs::directory_iterator(folder_))
      throw UserError(str_cat("--out ", flags.out, " holds other files (", entry.path().filename().string(),
                              "): choose another folder"));
  }
  fs::create_directory(folder_ / "done", failed);
  GLINT_REQUIRE(!failed, "--out ", flags.out, " can't be written: ", failed.message());
  lock_ = lock_folder(folder_ / "done/lock", "the folder " + flags.out);
  const fs::path record = folder_ / "done/study.json";
  const ordered_json known = kept_json(record);
  if (known.is_null()) {
    write_file(record, ordered_json{{"study", name_}, {"settings", settings_}}.dump(1) + "\n");
    return;
  }
  const bool damaged = !known.is_object() || !known.contains("study") || !known.contains("settings");
  GLINT_REQUIRE(!damaged, record.string(), " is damaged: choose another --out");
  GLINT_REQUIRE(known["study"] == name_, "--out ", flags.out, " holds a study ", flag_text(known["study"]),
                ": choose another folder");
  GLINT_REQUIRE(known["settings"] == settings_, "--out ", flags.out, " holds a study with ",
                difference(known["settings"], settings_), ": choose another folder, or repeat its flags");
}

fs::path Study::record_of(const StudyUnit& unit) const {
  std::string file;
  for (const char c : unit.name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-';
    if (plain || !file.ends_with('_')) file += plain ? c : '_';
  }
  return folder_ / "done" / (file + ".json");
}

std::optional<ordered_json> Study::kept(const StudyUnit& unit) const {
  ordered_json record = kept_json(record_of(unit));
  const bool usable = record.is_object() && record.contains("result") && record.contains("settings") &&
                      record["settings"] == unit.settings;
  return usable ? std::optional(std::move(record)) : std::nullopt;
}

std::vector<ordered_json> Study::run(const std::vector<StudyUnit>& units) {
  const SignalWatch signals;
  double cost = 0;
  for (const StudyUnit& unit : units) cost += kept(unit) ? 0 : unit.cost;
  UnitProgress progress(units.size(), cost);
  std::vector<ordered_json> results;
  const auto end_if_asked = [&] {
    if (!signals.received()) return;
    std::fprintf(stderr, "\nstopped; %zu of %zu parts are kept in %s: the same command goes on\n", results.size(),
                 units.size(), folder_.c_str());
    throw ExitCode{128 + signals.received()};
  };
  for (size_t n = 0; n < units.size(); ++n) {
    const StudyUnit& unit = units[n];
    std::optional<ordered_json> record = kept(unit);
    if (!record) {
      progress.begin(n, unit);
      const double start = seconds_now();
      ordered_json result = unit.work([&](double share) {
        end_if_asked();
        progress.part_done(share);
      });
      progress.end();
      record = {{"settings", unit.settings},
                {"machine", machine_},
                {"seconds", seconds_now() - start},
                {"result", std::move(result)}};
      write_file(record_of(unit), record->dump(1) + "\n");
    }
    seconds_ += record->value("seconds", 0.0);
    const std::string machine = record->value("machine", "");
    if (std::find(machines_.begin(), machines_.end(), machine) == machines_.end()) machines_.push_back(machine);
    results.push_back(std::move((*record)["result"]));
    end_if_asked();
  }
  return results;
}

void Study::write(const std::string& file, std::string_view content) const { write_file(folder_ / file, content); }
void Study::write_json(const std::string& file, const ordered_json& json) const { write(file, json.dump(1) + "\n"); }

void Study::write_page(const std::string& title, const std::string& body) const {
  std::string machines;
  for (const std::string& machine : machines_) machines += (machines.empty() ? "" : "; ") + machine;
  write("study.md", str_cat("# ", title, "\n\n`glint study ", name_, " --out DIR ", flags_text(settings_), "`\n\n",
                            today(), ", ", machines, "; ", duration_text(seconds_), ".\n\n", body));
  write_out("written: " + (folder_ / "study.md").string() + "\n");
}

std::string markdown_table(const std::vector<std::vector<std::string>>& rows) {
  std::string table;
  for (size_t n = 0; n < rows.size(); ++n) {
    table += "|";
    for (const std::string& cell : rows[n]) table += " " + cell + " |";
    table += "\n";
    if (n > 0) continue;
    for (size_t i = 0; i < rows[n].size(); ++i) table += "|---";
    table += "|\n";
  }
  return table;
}

void register_study(CLI::App& program) {
  CLI::App& studies = *program.add_subcommand("study", "Measure the kernels, with tables and pictures");
  studies.require_subcommand(1);
  for (const auto add : {register_study_ladder, register_study_dropout, register_study_mask, register_study_gradients,
                         register_study_cost})
    add(studies);
}

}  // namespace glint
