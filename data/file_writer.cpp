#include "data/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/check.h"

namespace glint {

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)), partial_(path_) {
  partial_ += ".partial." + std::to_string(::getpid());
  descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("write");
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
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
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("write");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail("replace");
  partial_.clear();

  // The new name is durable once the folder is synced. Some file systems can't sync folders, which is no error.
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  FileWriter file(path);
  file.append(content);
  file.commit();
}

}  // namespace glint
