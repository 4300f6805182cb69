#include "data/file_writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "kernels/check.h"

namespace glint {
namespace {

constexpr std::string_view kPartial = ".partial.";

// Removes what killed processes have left of the same target: their number is free, and on another machine too nobody
// holds the lock.
void remove_leftovers(const std::filesystem::path& target, const std::filesystem::path& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string(),
                      start = target.filename().string() + std::string(kPartial);
    if (!name.starts_with(start)) continue;
    const pid_t process = std::atoi(name.c_str() + start.size());
    if (process <= 0 || ::kill(process, 0) == 0 || errno != ESRCH) continue;
    const Descriptor descriptor(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
  }
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// The file that a rename may replace: behind a symbolic link the file itself, never a device, a pipe or a folder.
std::filesystem::path replaceable(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  GLINT_REQUIRE(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), "can't write ",
                path.string(), ": it is ", std::filesystem::is_directory(status) ? "a folder" : "no regular file",
                "; give the name of a file");
  return std::filesystem::is_symlink(path, error) && std::filesystem::exists(status) ? std::filesystem::canonical(path)
                                                                                     : path;
}

}  // namespace

FileWriter::FileWriter(const std::filesystem::path& path) : path_(replaceable(path)), partial_(path_) {
  remove_leftovers(path_, folder_of(path_));
  partial_ += std::string(kPartial) + std::to_string(::getpid());
  descriptor_ = Descriptor(::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (descriptor_ < 0) fail("write");
  ::flock(descriptor_, LOCK_EX | LOCK_NB);  // file systems that can't lock: nothing is lost
}

FileWriter::~FileWriter() {
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

void FileWriter::fail(const char* what) const {
  throw UserError(str_cat("can't ", what, " ", path_.string(), ": ", std::strerror(errno)));
}

void FileWriter::write_at(uint64_t offset, const void* bytes, size_t size) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::pwrite(descriptor_, from, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    from += written;
    offset += static_cast<uint64_t>(written);
    size -= static_cast<size_t>(written);
  }
}

void FileWriter::append(const void* bytes, size_t size) {
  write_at(size_, bytes, size);
  size_ += size;
}

void FileWriter::overwrite(uint64_t offset, const void* bytes, size_t size) {
  GLINT_CHECK(offset + size <= size_, "bytes ", offset, " to ", offset + size, " of ", size_);
  write_at(offset, bytes, size);
}

void FileWriter::commit() {
  GLINT_CHECK(descriptor_ >= 0, path_.string(), " is committed already");
  if (::fsync(descriptor_) != 0) fail("write");
  if (::close(descriptor_.release()) != 0) fail("write");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail("replace");
  partial_.clear();

  // The new name is durable once the folder is synced. Some file systems can't sync folders, which is no error.
  const Descriptor folder(::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder >= 0) ::fsync(folder);
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  FileWriter file(path);
  file.append(content);
  file.commit();
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream content;
  if (stream.peek() != EOF) content << stream.rdbuf();
  return stream.is_open() && !stream.bad() && !content.fail() ? std::optional(content.str()) : std::nullopt;
}

}  // namespace glint
