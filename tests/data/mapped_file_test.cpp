#include "data/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/check.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::message_of;

TEST_CASE("a mapped file shows the bytes of the file and can be moved") {
  const test::TemporaryFolder folder;
  const std::string content("one\0two\xFF", 8);
  MappedFile file(folder.file("bytes", content));
  CHECK(file.bytes() == content);
  MappedFile moved = std::move(file);
  CHECK(moved.bytes() == content);
  MappedFile other(folder.file("other", "abc"));
  other = std::move(moved);
  CHECK(other.bytes() == content);
  CHECK(other.path().filename() == "bytes");
}

TEST_CASE("a file that can't be mapped: the error gives the reason") {
  const test::TemporaryFolder folder;
  const auto refusal = [](const std::filesystem::path& path) {
    return message_of<UserError>([&] { MappedFile file(path); });
  };
  CHECK(refusal(folder / "nothing").ends_with("nothing does not exist"));
  CHECK(refusal(folder.path()).find("is a folder") != std::string::npos);
  CHECK(refusal(folder.file("empty", "")).ends_with("empty is empty"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(refusal(folder / "pipe").find("not a regular file") != std::string::npos);
  CHECK(refusal(folder.file("file", "x") / "below").find("can't read") != std::string::npos);
  if (::geteuid() != 0) {  // root may read everything
    const auto locked = folder.file("locked", "x");
    std::filesystem::permissions(locked, std::filesystem::perms::none);
    CHECK(refusal(locked).find("Permission denied") != std::string::npos);
  }
}
