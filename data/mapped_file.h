// A read-only memory map of a file of any size. Where another program truncates the file and its pages are gone, the
// process ends with a line that names it (SIGBUS).
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace glint {

class MappedFile {
 public:
  enum class Access { any, sequential };  // a hint for the system's read-ahead

  // UserError if the file is missing, a directory or otherwise not a regular file, unreadable or empty.
  explicit MappedFile(std::filesystem::path path, Access access = Access::any);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const char* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Whether the file is as it was when it was opened, by size and time of change. A file of the same name that has
  // replaced it is another one: the map still shows the old.
  bool unchanged() const;
  bool truncated() const;
  void accept_changes();  // unchanged() from now on

  void move_to(char* address);  // the map, to whole pages that are reserved there

 private:
  struct Watched;  // what the signal handler reads

  std::filesystem::path path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
  struct stat opened_ {};
  Watched* watched_ = nullptr;
};

}  // namespace glint
