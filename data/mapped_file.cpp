#include "data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/check.h"

namespace glint {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path, Access access) : path_(std::move(path)) {
  // O_NONBLOCK: do not wait for a named pipe, which is refused below.
  const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  GLINT_REQUIRE(file.value >= 0 || errno != ENOENT, path_.string(), " does not exist");
  GLINT_REQUIRE(file.value >= 0, "can't read ", path_.string(), ": ", std::strerror(errno));

  struct stat status {};
  GLINT_REQUIRE(::fstat(file.value, &status) == 0, "can't read ", path_.string(), ": ", std::strerror(errno));
  GLINT_REQUIRE(!S_ISDIR(status.st_mode), path_.string(), " is a folder; give a file");
  GLINT_REQUIRE(S_ISREG(status.st_mode), path_.string(), " is not a regular file; save its content to a file first");
  GLINT_REQUIRE(status.st_size > 0, path_.string(), " is empty");

  size_ = static_cast<size_t>(status.st_size);
  void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  GLINT_REQUIRE(memory != MAP_FAILED, "can't map ", path_.string(), " (", size_, " bytes): ", std::strerror(errno));
  data_ = static_cast<const char*>(memory);
  if (access == Access::sequential) ::madvise(memory, size_, MADV_SEQUENTIAL);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

}  // namespace glint
