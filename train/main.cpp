// The program: reads the command line, runs one command, and turns whatever it throws into a line and an exit code.
//   0 done   1 error   2 wrong usage   3 another rank failed   130, 143 stopped by SIGINT, SIGTERM after saving
#include <csignal>
#include <cstdio>
#include <new>
#include <string>

#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/signals.h"

namespace {

constexpr int kError = 1, kUsage = 2;

void register_all(glint::Command program) {
  glint::register_train(program);
  glint::register_sample(program);
  glint::register_eval(program);
  glint::register_data(program);
  glint::register_mask(program);
  glint::register_bench(program);
  glint::register_plan(program);
  glint::register_info(program);
}

int fail(const char* what) {
  std::fprintf(stderr, "glint: %s\n", what);
  return kError;
}

// A full disk under standard output shows only here.
void flush_results() {
  GLINT_REQUIRE(std::fflush(stdout) == 0 && !std::ferror(stdout),
                "standard output can't be written (closed, or its disk is full)");
}

void run(int argc, char** argv) {
  const glint::SignalThread signals;  // before any other thread
  glint::CommandLine line("glint", "Trains small GPTs from text, and samples from them.",
                          std::string("glint ") + glint::version());
  line.program().require_command();
  register_all(line.program());
  line.run({argv + 1, argv + argc});
  flush_results();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error of write(), like a full disk
  try {
    run(argc, argv);
    return 0;
  } catch (const glint::ExitCode& exit) {
    return exit.code;
  } catch (const glint::UsageError& error) {
    fail(error.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    return fail("out of memory: lower the sizes asked for");
  } catch (const std::exception& error) {
    return fail(error.what());
  } catch (...) {
    return fail("unknown error");
  }
}
