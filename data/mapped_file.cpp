#include "data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include "data/descriptor.h"
#include "kernels/check.h"

namespace glint {

// A list that a signal handler can walk.
struct MappedFile::Watched {
  const char* begin;
  size_t size;
  std::string message;
  Watched* next;

  static inline Watched* first = nullptr;  // a signal handler can only use globals
  static inline std::mutex mutex;          // of changes to the list

  static void on_bus_error(int, siginfo_t* info, void*) {
    const char* const at = static_cast<const char*>(info->si_addr);
    for (const Watched* file = first; file; file = file->next) {
      if (at < file->begin || at >= file->begin + file->size) continue;
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, file->message.data(), file->message.size());
      ::_exit(1);
    }
    std::signal(SIGBUS, SIG_DFL);  // another fault: it comes again
  }
  static Watched* add(const char* begin, size_t size, const std::string& path) {
    const std::lock_guard lock(mutex);
    if (!first) {
      struct sigaction action {};
      action.sa_sigaction = on_bus_error;
      action.sa_flags = SA_SIGINFO;
      ::sigaction(SIGBUS, &action, nullptr);
    }
    return first = new Watched{begin, size,
                               "glint: " + path +
                                   " was truncated by another program while glint read it, or its disk "
                                   "failed\n",
                               first};
  }
  static void remove(const Watched* file) {
    const std::lock_guard lock(mutex);
    for (Watched** link = &first; *link; link = &(*link)->next) {
      if (*link != file) continue;
      *link = file->next;
      delete file;
      return;
    }
  }
};

MappedFile::MappedFile(std::filesystem::path path, Access access) : path_(std::move(path)) {
  // O_NONBLOCK: do not wait for a named pipe, which is refused below.
  const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  GLINT_REQUIRE(file >= 0 || errno != ENOENT, path_.string(), " does not exist");
  GLINT_REQUIRE(file >= 0, "can't read ", path_.string(), ": ", std::strerror(errno));

  struct stat& status = opened_;
  GLINT_REQUIRE(::fstat(file, &status) == 0, "can't read ", path_.string(), ": ", std::strerror(errno));
  GLINT_REQUIRE(!S_ISDIR(status.st_mode), path_.string(), " is a folder; give a file");
  GLINT_REQUIRE(S_ISREG(status.st_mode), path_.string(), " is not a regular file; save its content to a file first");
  GLINT_REQUIRE(status.st_size > 0, path_.string(), " is empty");

  size_ = static_cast<size_t>(status.st_size);
  void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  GLINT_REQUIRE(memory != MAP_FAILED, "can't map ", path_.string(), " (", size_, " bytes): ", std::strerror(errno));
  data_ = static_cast<const char*>(memory);
  watched_ = Watched::add(data_, size_, path_.string());
  if (access == Access::sequential) ::madvise(memory, size_, MADV_SEQUENTIAL);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      opened_(other.opened_),
      watched_(std::exchange(other.watched_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(opened_, other.opened_);
  std::swap(watched_, other.watched_);
  return *this;
}

MappedFile::~MappedFile() {
  if (watched_ != nullptr) Watched::remove(watched_);
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

void MappedFile::move_to(char* address) {
  Watched::remove(watched_);
  watched_ = nullptr;
  void* const moved = ::mremap(const_cast<char*>(data_), size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, address);
  GLINT_REQUIRE(moved == address, "can't map ", path_.string(), ": ", std::strerror(errno));
  data_ = address;
  watched_ = Watched::add(data_, size_, path_.string());
}

namespace {

bool is_now(const std::filesystem::path& path, const struct stat& opened, struct stat& now) {
  return ::stat(path.c_str(), &now) == 0 && now.st_dev == opened.st_dev && now.st_ino == opened.st_ino;
}

}  // namespace

bool MappedFile::unchanged() const {
  struct stat now {};
  return !is_now(path_, opened_, now) ||
         (now.st_size == opened_.st_size && now.st_mtim.tv_sec == opened_.st_mtim.tv_sec &&
          now.st_mtim.tv_nsec == opened_.st_mtim.tv_nsec);
}

bool MappedFile::truncated() const {
  struct stat now {};
  return is_now(path_, opened_, now) && now.st_size < opened_.st_size;
}

void MappedFile::accept_changes() {
  struct stat now {};
  if (is_now(path_, opened_, now)) opened_ = now;
}

}  // namespace glint
