#include "data/durable.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#define XXH_STATIC_LINKING_ONLY  // shows XXH3_state_t
#include <xxhash.h>

#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& what, const fs::path& path, int error) {
  throw UserError(str_cat("cannot ", what, " ", path.string(), ": ", std::strerror(error)));
}

fs::path with_suffix(fs::path path, const char* suffix) {
  if (!path.has_filename()) path = path.parent_path();  // "dir/" -> "dir"
  return path += suffix;
}

fs::path parent_of(const fs::path& path) {
  const fs::path plain = with_suffix(path, "");
  return plain.has_parent_path() ? plain.parent_path() : fs::path(".");
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename " + from.string() + " to", to, errno);
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("remove", path, error.value());
}

}  // namespace

struct DurableFile::Hash {
  XXH3_state_t state;
  Hash() { XXH3_64bits_reset(&state); }
};

DurableFile::DurableFile(const fs::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail("create", path_, errno);
  hash_ = std::make_unique<Hash>();
}

DurableFile::~DurableFile() = default;

void DurableFile::write(const void* data, size_t bytes) {
  XXH3_64bits_update(&hash_->state, data, bytes);
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, at, bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write", path_, errno);
    }
    at += written;
    bytes -= static_cast<size_t>(written);
  }
}

uint64_t DurableFile::finish() {
  if (::fsync(descriptor_) != 0) fail("write", path_, errno);
  if (::close(descriptor_.release()) != 0) fail("write", path_, errno);
  return XXH3_64bits_digest(&hash_->state);
}

DurableFolder::DurableFolder(const fs::path& final_path)
    : final_(with_suffix(final_path, "")),
      partial_(with_suffix(final_path, ".partial")),
      former_(with_suffix(final_path, ".former")) {
  // Clean up after a crash: a partial folder is useless; a former one is valid if nothing has replaced it.
  remove_tree(partial_);
  if (fs::exists(former_)) {
    if (fs::exists(final_)) {
      remove_tree(former_);
    } else {
      rename_or_fail(former_, final_);
    }
  }
  if (::mkdir(partial_.c_str(), 0777) != 0) fail("create folder", partial_, errno);
}

DurableFolder::~DurableFolder() {
  if (committed_) return;
  std::error_code ignored;  // the next save removes what remains
  fs::remove_all(partial_, ignored);
}

void DurableFolder::write_text(const std::string& name, const std::string& content) {
  DurableFile out(file(name));
  out.write(content.data(), content.size());
  out.finish();
}

void DurableFolder::commit(Swap swap) {
  sync_folder(partial_);
  swap_in(swap);
  committed_ = true;
  sync_folder(parent_of(final_));
  remove_tree(partial_);  // after an exchange this is the old one
  remove_tree(former_);
}

void DurableFolder::swap_in(Swap swap) {
  if (!fs::exists(final_)) return rename_or_fail(partial_, final_);
  if (swap == Swap::exchange) {
    if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) fail("replace", final_, errno);
  }
  rename_or_fail(final_, former_);
  rename_or_fail(partial_, final_);
}

fs::path whole_folder(const fs::path& path) {
  const fs::path former = with_suffix(path, ".former");
  return !fs::exists(path) && fs::exists(former) ? former : path;
}

void sync_folder(const fs::path& path) {
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor < 0) fail("open folder", path, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  if (error != 0 && error != EINVAL && error != ENOTSUP) fail("sync folder", path, error);  // some file systems can't
}

uint64_t checksum_of(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

std::string hexadecimal(uint64_t value) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value));
  return digits;
}

}  // namespace glint
