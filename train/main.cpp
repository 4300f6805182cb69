// The program: parses the command line, runs one command, and turns what it throws into a message and an exit code.
//   0 done   1 error   2 wrong usage   3 another rank failed
//   129, 130, 143 stopped by SIGHUP, SIGINT, SIGTERM after saving
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>

#include "data/utf8.h"
#include "kernels/check.h"
#include "src/comm/communicator.h"
#include "train/commands/commands.h"
#include "train/exit_code.h"
#include "train/signals.h"

namespace {

constexpr int kError = 1, kUsage = 2;

void register_all(CLI::App& app) {
  app.set_version_flag("--version", std::string("glint ") + glint::version());
  app.require_subcommand(1);
  glint::format_help(app);
  using namespace glint;
  for (const auto add :
       {register_train, register_sample, register_eval, register_report, register_import, register_export,
        register_data, register_mask, register_bench, register_plan, register_study, register_info})
    add(app);
}

// Waiting threads of libgomp spin for milliseconds by default, which costs another process on the same cores more than
// it saves here. libgomp reads its environment as it is loaded, so the program starts itself again.
void spin_briefly(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  setenv("KMP_BLOCKTIME", "1", 0);  // the same of clang's runtime, in milliseconds
  std::error_code unreadable;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  if (!unreadable) execv(program.c_str(), argv);
}

}  // namespace

int main(int argc, char** argv) {
  spin_briefly(argv);
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error of write(), like a full disk
  CLI::App app("Trains small GPTs from text, and samples from them.", "glint");
  const auto fail = [&app](const std::string& what, int code = kError) {
    std::fprintf(stderr, "glint: %s\n", glint::printable(glint::with_flags(app, what)).c_str());
    return code;
  };
  try {
    const glint::SignalThread signals;  // before any other thread
    register_all(app);
    glint::parse(app, {argv + 1, argv + argc});
    glint::write_out("");  // what the command has printed
    return 0;
  } catch (const glint::ExitCode& exit) {
    return exit.code;
  } catch (const glint::PeerError& error) {
    return error.reported ? glint::kPeerFailed : fail(error.what(), glint::kPeerFailed);
  } catch (const glint::UsageError& error) {
    return fail(error.what(), kUsage);
  } catch (const std::bad_alloc&) {
    return fail("out of memory: lower the sizes asked for");
  } catch (const std::exception& error) {
    return fail(error.what());
  } catch (...) {
    return fail("unknown error");
  }
}
