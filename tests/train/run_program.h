// Runs the glint program as a user does, and keeps what it prints.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/check.h"

namespace glint::test {

// A temporary folder, removed at the end of the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "glint-test-XXXXXX").string();
    GLINT_CHECK(mkdtemp(pattern.data()), "no temporary folder");
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_file_for_test(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// The message of the UserError that action() throws; "" if it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

using Arguments = std::vector<std::string>;
// "--layers 1 --heads 2" as arguments.
inline Arguments words_of(const std::string& line) {
  std::istringstream words(line);
  return {std::istream_iterator<std::string>(words), {}};
}
inline Arguments join(Arguments first, const Arguments& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

struct Ran {
  int code = -1;  // exit code; -signal if one ended it
  std::string out, err;
};

// The glint program: beside this one, wherever the two are now, or where it was built.
inline std::string glint_program() {
  const std::filesystem::path built = GLINT_PROGRAM;
  const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / built.filename();
  return std::filesystem::exists(beside) ? beside : built;
}

// With --device cpu where a command has that flag and the test does not choose: on a machine with a GPU too.
inline std::vector<std::string> on_cpu(std::vector<std::string> arguments) {
  const auto has = [&](const char* word) {
    return std::find(arguments.begin(), arguments.end(), word) != arguments.end();
  };
  const bool computes =
      !arguments.empty() && (arguments[0] == "train" || arguments[0] == "sample" || arguments[0] == "eval" ||
                             (arguments[0] == "bench" && arguments.size() > 1));
  if (computes && !has("--device") && !has("--resume") && !has("--help"))
    arguments.insert(arguments.end(), {"--device", "cpu"});
  return arguments;
}

// A running program: for tests that interrupt it.
class Running {
 public:
  explicit Running(std::vector<std::string> arguments, const std::string& program = glint_program())
      : out_(folder_ / "out"), err_(folder_ / "err") {
    arguments = on_cpu(std::move(arguments));
    arguments.insert(arguments.begin(), program);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    process_ = fork();
    GLINT_CHECK(process_ >= 0, "fork failed");
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // ends with a test program that is killed
      const int out = open(out_.c_str(), O_WRONLY | O_CREAT, 0600), err = open(err_.c_str(), O_WRONLY | O_CREAT, 0600);
      dup2(open("/dev/null", O_RDONLY), 0);
      dup2(out, 1);
      dup2(err, 2);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  pid_t process() const { return process_; }
  ~Running() {
    if (process_ < 0) return;  // in a test that failed, or does not need the end of the run
    send(SIGKILL);
    wait();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void send(int signal) const {
    if (process_ > 0) kill(process_, signal);
  }
  std::string err_so_far() const { return read_file(err_); }
  std::string out_so_far() const { return read_file(out_); }
  Ran wait() {
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_file(out_), read_file(err_)};
  }

 private:
  ScratchFolder folder_;
  std::string out_, err_;
  pid_t process_;  // -1 once it has ended
};

inline Ran run_program(const std::vector<std::string>& arguments) { return Running(arguments).wait(); }

}  // namespace glint::test
