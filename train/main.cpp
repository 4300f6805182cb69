// The program: reads the command line, runs one command, and turns whatever it throws into a line and an exit code.
//   0 done   1 error   2 wrong usage   130, 143 stopped by SIGINT, SIGTERM after saving
#include <csignal>
#include <cstdio>
#include <memory>
#include <new>

#include <CLI/CLI.hpp>

#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"

namespace {

constexpr int kError = 1, kUsage = 2;

// CLI11's own puts a default behind the type (--steps INT=2000); here it stands behind the description, in brackets.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string type = option->get_type_name();
    return (type.empty() ? "" : " " + type) + (option->get_required() ? " (required)" : "");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string initial = option->get_default_str();
    return option->get_description() + (initial.empty() ? "" : " [" + initial + "]");
  }
};

void register_all(CLI::App& program) {
  glint::register_train(program);
  glint::register_sample(program);
  glint::register_eval(program);
  glint::register_data(program);
  glint::register_mask(program);
  glint::register_bench(program);
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

int run(int argc, char** argv) {
  CLI::App program{"Trains small GPTs from text, and samples from them.", "glint"};
  program.set_version_flag("--version", std::string("glint ") + glint::version());
  program.require_subcommand(1);
  program.formatter(std::make_shared<HelpFormatter>());
  program.get_formatter()->column_width(34);
  program.failure_message([](const CLI::App* app, const CLI::Error& error) {
    return std::string("glint: ") + error.what() + "; see " + app->get_name() + " --help\n";
  });
  register_all(program);
  try {
    program.parse(argc, argv);
    flush_results();
    return 0;
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kUsage;  // prints the help that was asked for, or what is wrong
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error of write(), like a full disk
  try {
    return run(argc, argv);
  } catch (const glint::ExitCode& exit) {
    return exit.code;
  } catch (const std::bad_alloc&) {
    return fail("out of memory: lower the sizes asked for");
  } catch (const std::exception& error) {
    return fail(error.what());
  } catch (...) {
    return fail("unknown error");
  }
}
