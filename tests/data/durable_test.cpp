#include "data/durable.h"

#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <doctest/doctest.h>

#include "kernels/check.h"
#include "tests/data/file_size_limit.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::FileSizeLimit;
using test::ScratchFolder;
namespace fs = std::filesystem;

namespace {

// Writes `content` to two files of the folder; they only agree if the folder is complete.
void save(const std::string& folder, const std::string& content, Swap swap) {
  DurableFolder out(folder);
  out.write_text("a", content);
  out.write_text("b", content);
  out.commit(swap);
}

// The content of a complete folder; otherwise a text that was never written.
std::string load(const std::string& folder) {
  const std::string whole = whole_folder(folder).string();
  if (!fs::exists(whole)) return "";
  const std::string a = test::read_file(whole + "/a"), b = test::read_file(whole + "/b");
  return a == b ? a : "torn: " + a + " " + b;
}

// Runs `work` in a child process that is killed at its n-th system call stop (each call stops twice: before and after).
// False if it ended before that.
template <typename Work>
bool killed_at_stop(int n, const Work& work) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  for (int stop = 0; stop < n && !WIFEXITED(status); ++stop) {
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &status, 0);
  }
  if (WIFEXITED(status)) return false;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return true;
}

bool may_trace() {
  const pid_t child = fork();
  if (child == 0) _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A folder on a small file system of its own; not ready if this process may not mount one.
class TinyDisk {
 public:
  TinyDisk() : path_(folder_ / "disk") {
    fs::create_directory(path_);
    ready_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~TinyDisk() {
    if (ready_) ::umount(path_.c_str());
  }
  bool ready() const { return ready_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  ScratchFolder folder_;
  std::string path_;
  bool ready_ = false;
};

std::string error_of_saving(const std::string& folder, const std::string& content) {
  try {
    save(folder, content, Swap::exchange);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a durable folder replaces the old one and leaves no other files") {
  for (const Swap swap : {Swap::exchange, Swap::two_renames}) {
    ScratchFolder folder;
    for (const char* content : {"first", "second", "third"}) {
      save(folder / "state", content, swap);
      CHECK(load(folder / "state") == content);
      CHECK(std::distance(fs::directory_iterator(folder / ""), {}) == 1);
    }
    save(folder / "state/", "with a slash", swap);
    CHECK(load(folder / "state") == "with a slash");
  }
}

TEST_CASE("a folder that is not committed leaves no trace") {
  ScratchFolder folder;
  save(folder / "state", "kept", Swap::exchange);
  { DurableFolder(folder / "state").write_text("a", "given up"); }
  CHECK(load(folder / "state") == "kept");
  CHECK(std::distance(fs::directory_iterator(folder / ""), {}) == 1);
}

TEST_CASE("a kill before or after any system call of a save leaves a complete folder, and the next save works") {
  if (!may_trace()) {
    MESSAGE("skipped: this process may not trace its children");
    return;
  }
  constexpr int kMaxStops = 2000;
  for (const Swap swap : {Swap::exchange, Swap::two_renames}) {
    bool killed = true;
    int stops = 0, new_ones = 0;
    for (; killed && stops < kMaxStops; ++stops) {
      ScratchFolder folder;
      save(folder / "state", "former", swap);
      killed = killed_at_stop(stops, [&] { save(folder / "state", "new", swap); });
      const std::string found = load(folder / "state");
      INFO("killed at stop ", stops, ", found ", found);
      CHECK((found == "former" || found == "new"));
      new_ones += found == "new";
      save(folder / "state", "next", swap);
      CHECK(load(folder / "state") == "next");
      CHECK(std::distance(fs::directory_iterator(folder / ""), {}) == 1);
    }
    CHECK(!killed);       // the last one ran to its end
    CHECK(stops > 40);    // a save makes at least 20 system calls
    CHECK(new_ones > 1);  // some were killed after the swap
    CHECK(new_ones < stops);
  }
}

TEST_CASE("the first save, killed anywhere, leaves nothing or a complete folder") {
  if (!may_trace()) return;
  bool killed = true;
  for (int stops = 0; killed && stops < 2000; ++stops) {
    ScratchFolder folder;
    killed = killed_at_stop(stops, [&] { save(folder / "state", "new", Swap::exchange); });
    const std::string found = load(folder / "state");
    INFO("killed at stop ", stops, ", found ", found);
    CHECK((found == "" || found == "new"));
  }
  CHECK(!killed);
}

TEST_CASE("a disk that fills up during a save: an error, the old folder stays, the partial one is removed") {
  const std::string large(100'000, 'x');
  SUBCASE("a full file system") {
    TinyDisk disk;
    if (!disk.ready()) {
      MESSAGE("skipped: this process may not mount a file system");
      return;
    }
    save(disk / "state", "former", Swap::exchange);
    CHECK(error_of_saving(disk / "state", large).find("No space left on device") != std::string::npos);
    CHECK(load(disk / "state") == "former");
    CHECK(!fs::exists(disk / "state.partial"));
    CHECK(error_of_saving(disk / "state", "small again") == "");
  }
  SUBCASE("a limit on the size of files") {
    ScratchFolder folder;
    save(folder / "state", "former", Swap::exchange);
    {
      FileSizeLimit limit(10'000);
      CHECK(error_of_saving(folder / "state", large).find("File too large") != std::string::npos);
    }
    CHECK(load(folder / "state") == "former");
    CHECK(!fs::exists(folder / "state.partial"));
  }
}
