#include "data/file_writer.h"

#include <sys/stat.h>

#include <doctest/doctest.h>

#include <iterator>

#include "kernels/check.h"
#include "tests/data/file_size_limit.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::content_of;
using test::FileSizeLimit;
using test::message_of;

namespace {

ptrdiff_t files_in(const test::TemporaryFolder& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), {});
}

}  // namespace

TEST_CASE("a file appears complete when it is committed") {
  const test::TemporaryFolder folder;
  const auto path = folder.file("name", "before");
  {
    FileWriter file(path);
    file.append("?ne ");
    file.append("two");
    CHECK(content_of(path) == "before");
    file.overwrite(0, "o", 1);
    file.commit();
    CHECK(content_of(path) == "one two");
  }
  CHECK(content_of(path) == "one two");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a file that is not committed leaves no trace") {
  const test::TemporaryFolder folder;
  const auto path = folder.file("name", "before");
  {
    FileWriter file(path);
    file.append("after");
    CHECK(files_in(folder) == 2);
  }
  CHECK(content_of(path) == "before");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a pipe is not replaced; behind a symbolic link the file is") {
  const test::TemporaryFolder folder;
  const auto pipe = folder / "pipe", link = folder / "link", path = folder.file("name", "before");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(message_of<UserError>([&] { write_file(pipe, "x"); }).find("it is no regular file") != std::string::npos);
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(message_of<UserError>([&] { write_file(folder.path(), "x"); }).find("a folder") != std::string::npos);
  std::filesystem::create_symlink("name", link);
  write_file(link, "after");
  CHECK(std::filesystem::is_symlink(link));
  CHECK(content_of(path) == "after");
}

TEST_CASE("a full disk keeps the old file") {
  const test::TemporaryFolder folder;
  const auto path = folder.file("name", "before");
  const std::string message = message_of<UserError>([&] {
    const FileSizeLimit limit(4096);
    write_file(path, std::string(100'000, 'x'));
  });
  CHECK(message.find("can't write " + path.string()) == 0);
  CHECK(content_of(path) == "before");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a missing folder is a user error") {
  const test::TemporaryFolder folder;
  const auto path = folder / "no such folder/name";
  const std::string message = message_of<UserError>([&] { FileWriter file(path); });
  CHECK(message == "can't write " + path.string() + ": No such file or directory");
}
