// A read-only memory map of a file of any size.
#pragma once

#include <cstddef>
#include <filesystem>
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

 private:
  std::filesystem::path path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace glint
