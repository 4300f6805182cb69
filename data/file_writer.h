// Writes a file atomically: to a temporary name, then synced and renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "data/descriptor.h"

namespace glint {

class FileWriter {
 public:
  // Starts `path` + ".partial.<process id>" next to the target. Every system error (no such folder, no permission,
  // disk full) is a UserError that names the target; the target does not change before commit(). What processes
  // that were killed have left of this target is removed.
  explicit FileWriter(std::filesystem::path path);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();  // without commit(): removes what was written

  void append(const void* bytes, size_t size);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void overwrite(uint64_t offset, const void* bytes, size_t size);  // for a header that is known at the end only
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;
  void write_at(uint64_t offset, const void* bytes, size_t size);

  std::filesystem::path path_, partial_;
  Descriptor descriptor_;
  uint64_t size_ = 0;
};

// Writes a small file with FileWriter, synced when it returns.
void write_file(const std::filesystem::path& path, std::string_view content);
// The bytes of a file; nothing if it can't be read (errno says why).
std::optional<std::string> read_file(const std::filesystem::path& path);

}  // namespace glint
