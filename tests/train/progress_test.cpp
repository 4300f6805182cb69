#include "train/progress.h"

#include <unistd.h>

#include <cstdio>

#include <doctest/doctest.h>

#include "tests/train/run_program.h"

using namespace glint;
using test::ScratchFolder;

namespace {

// The text that `action` writes to standard error.
template <typename Action>
std::string on_standard_error(const Action& action) {
  ScratchFolder folder;
  const std::string path = folder / "err";
  const int kept = dup(STDERR_FILENO), file = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  std::fflush(stderr);
  dup2(file, STDERR_FILENO);
  action();
  std::fflush(stderr);
  dup2(kept, STDERR_FILENO);
  close(kept);
  close(file);
  return test::read_file(path);
}

ProgressReport report_of(uint64_t step) {
  return {.step = step, .loss = 1.23456, .val_loss = 1.5, .tokens_per_s = 12345};
}

}  // namespace

TEST_CASE("progress: step, losses, speed, share of the peak, time left") {
  const ProgressSettings settings{.quiet = false, .steps = 300};
  const Progress progress(settings, false);
  ProgressReport report = report_of(200);
  report.seconds_left = 60, report.mfu = 0.123;
  CHECK(progress.line(report) == "step 200/300  loss 1.2346  val 1.5000  12.3k tok/s  MFU 12%  1 min 00 s left");
  report.mfu = 0.0042;
  CHECK(progress.line(report) == "step 200/300  loss 1.2346  val 1.5000  12.3k tok/s  MFU 0.4%  1 min 00 s left");
  ProgressReport no_val = report_of(300);
  no_val.val_loss.reset();
  no_val.seconds_left = 60;  // the last step says none
  CHECK(Progress(settings, false).line(no_val) == "step 300/300  loss 1.2346  12.3k tok/s");
}

TEST_CASE("progress: durations") {
  CHECK(duration_text(0.4) == "0 s");
  CHECK(duration_text(59.4) == "59 s");
  CHECK(duration_text(59.6) == "1 min 00 s");
  CHECK(duration_text(3725) == "1 h 02 min");
  CHECK(duration_text(-1) == "0 s");
}

TEST_CASE("progress: plain lines to a file, one live line to a terminal, nothing when quiet but warnings") {
  const auto run = [](bool quiet, bool is_terminal) {
    return on_standard_error([&] {
      Progress progress({.quiet = quiet, .steps = 20}, is_terminal);
      progress.note("a note");
      progress.report(report_of(10));
      progress.warning("a warning");
      progress.report(report_of(20));
      progress.finish();
      progress.finish();
    });
  };
  const std::string step_20 = "step 20/20  loss 1.2346  val 1.5000  12.3k tok/s";
  const std::string plain = run(false, false);
  CHECK(plain.starts_with("a note\nstep 10/20  loss 1.2346  val 1.5000  12.3k tok/s"));
  CHECK(plain.ends_with("\na warning\n" + step_20 + "\n"));
  CHECK(plain.find('\r') == std::string::npos);
  const std::string live = run(false, true);
  CHECK(live.starts_with("a note\n\rstep 10/20  "));
  CHECK(live.ends_with("\r\x1b[Ka warning\n\r" + step_20 + "\x1b[K\n"));
  CHECK(run(true, false) == "a warning\n");
  CHECK(run(true, true) == "a warning\n");
}
