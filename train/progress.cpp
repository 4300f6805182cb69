#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "data/utf8.h"
#include "kernels/check.h"
#include "train/text.h"

namespace glint {

namespace {

std::string rate_text(double tokens_per_s) {
  if (tokens_per_s >= 1e6) return formatted("%.2fM tok/s", tokens_per_s / 1e6);
  return tokens_per_s >= 1e4 ? formatted("%.1fk tok/s", tokens_per_s / 1e3) : formatted("%.0f tok/s", tokens_per_s);
}

size_t terminal_width() {
  constexpr size_t kUsual = 80;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsual;
}

}  // namespace

std::string duration_text(double seconds) {
  const long long s = std::llround(std::clamp(seconds, 0.0, 1e12));
  const auto two_digits = [](long long n) { return str_cat(n < 10 ? "0" : "", n); };
  if (s < 60) return str_cat(s, " s");
  if (s < 3600) return str_cat(s / 60, " min ", two_digits(s % 60), " s");
  return str_cat(s / 3600, " h ", two_digits(s % 3600 / 60), " min");
}

Progress::Progress(const ProgressSettings& settings, bool is_terminal)
    : settings_(settings), is_terminal_(is_terminal) {}

std::string Progress::line(const ProgressReport& report) const {
  std::string result = "step " + std::to_string(report.step) + "/" + std::to_string(settings_.steps);
  result += formatted("  loss %.4f", report.loss);
  if (report.val_loss) result += formatted("  val %.4f", *report.val_loss);
  result += "  " + rate_text(report.tokens_per_s);
  if (report.mfu) result += formatted(*report.mfu < 0.1 ? "  MFU %.1f%%" : "  MFU %.0f%%", 100 * *report.mfu);
  if (report.seconds_left && report.step < settings_.steps)
    result += "  " + duration_text(*report.seconds_left) + " left";
  return result;
}

void Progress::report(const ProgressReport& report) { show(line(report)); }

void Progress::show(const std::string& content) {
  if (settings_.quiet) return;
  if (is_terminal_) {
    // Overwrites the line and clears the rest of the old one. Cut to the terminal's width: a wrapped line would remain.
    std::fprintf(stderr, "\r%s\x1b[K", content.substr(0, terminal_width() - 1).c_str());
    live_ = true;
  } else {
    std::fprintf(stderr, "%s\n", content.c_str());
  }
  std::fflush(stderr);
}

void Progress::note(const std::string& line) {
  if (!settings_.quiet) warning(line);
}

void Progress::warning(const std::string& line) {
  clear_live_line();
  std::fprintf(stderr, "%s\n", printable(line).c_str());
}

void Progress::finish() {
  if (live_) std::fputc('\n', stderr);
  live_ = false;
}

void Progress::clear_live_line() {
  if (live_) std::fputs("\r\x1b[K", stderr);
  live_ = false;
}

}  // namespace glint
