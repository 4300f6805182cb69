// Prints a run's progress on standard error: on a terminal one live line, otherwise a line per report; nothing when
// quiet.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>

namespace glint {

struct ProgressSettings {
  bool quiet = false;
  uint64_t steps = 0;  // in total
};

struct ProgressReport {
  uint64_t step = 0;  // steps done
  double loss = 0;
  std::optional<double> val_loss;  // the latest
  double tokens_per_s = 0;
  std::optional<double> mfu{};  // share of the device's peak
  std::optional<double> seconds_left{};
};

class Progress {
 public:
  // is_terminal: by default whether standard error is one.
  explicit Progress(const ProgressSettings& settings, bool is_terminal = isatty(STDERR_FILENO) == 1);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool is_terminal() const { return is_terminal_; }
  void report(const ProgressReport& report);
  void show(const std::string& line);     // the live line; not on a terminal a line of its own
  void note(const std::string& line);     // a line of its own, above the live line
  void warning(const std::string& line);  // the same, even when quiet
  void finish();                          // ends the live line; may be called again

  // "step 120/2000  loss 1.2345  ..."
  std::string line(const ProgressReport& report) const;

 private:
  void clear_live_line();

  ProgressSettings settings_;
  bool is_terminal_;
  bool live_ = false;
};

// "1 h 02 min", "3 min 20 s", "12 s"
std::string duration_text(double seconds);

}  // namespace glint
