// Atomic replacement of a folder: a crash leaves the old or the new one, complete. (Of a file: file_writer.h.)
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "data/descriptor.h"

namespace glint {

// A file written in order and synced when finished. Every failure, such as a full disk, is a UserError.
class DurableFile {
 public:
  explicit DurableFile(const std::filesystem::path& path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, size_t bytes);
  // Syncs, closes, and returns the XXH3-64 of what was written.
  uint64_t finish();

 private:
  struct Hash;
  std::filesystem::path path_;
  Descriptor descriptor_;
  std::unique_ptr<Hash> hash_;
};

// How a new folder replaces the old one.
enum class Swap {
  exchange,  // swaps both names (renameat2), or renames twice if the file system can't
  two_renames,
};

// DIR is written as DIR.partial; commit() swaps the two and deletes the old one. Between two renames DIR is called
// DIR.former, so readers ask whole_folder().
class DurableFolder {
 public:
  explicit DurableFolder(const std::filesystem::path& final_path);
  ~DurableFolder();  // not committed: removes the partial folder
  DurableFolder(const DurableFolder&) = delete;
  DurableFolder& operator=(const DurableFolder&) = delete;

  std::filesystem::path file(const std::string& name) const { return partial_ / name; }
  void write_text(const std::string& name, const std::string& content);
  void commit(Swap swap = Swap::exchange);

 private:
  void swap_in(Swap swap);

  std::filesystem::path final_, partial_, former_;
  bool committed_ = false;
};

// Where the latest complete state of DIR is: DIR itself, or DIR.former after a crash between two renames.
std::filesystem::path whole_folder(const std::filesystem::path& path);

void sync_folder(const std::filesystem::path& path);

// XXH3-64 (Y. Collet): the checksum of all files of a run.
uint64_t checksum_of(const void* data, size_t bytes);
// 16 digits.
std::string hexadecimal(uint64_t value);

}  // namespace glint
