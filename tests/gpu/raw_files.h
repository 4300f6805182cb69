// Files that hold one array's elements and nothing else.
#pragma once

#include <filesystem>
#include <fstream>
#include <vector>

#include "kernels/check.h"

namespace glint::test {

template <typename T>
std::vector<T> read_array(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  GLINT_REQUIRE(file, "cannot read ", path.string());
  const auto bytes = static_cast<size_t>(file.tellg());
  GLINT_REQUIRE(bytes % sizeof(T) == 0, path.string(), " has ", bytes, " bytes: no number of elements of ", sizeof(T));
  std::vector<T> values(bytes / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  GLINT_REQUIRE(file, "cannot read ", path.string());
  return values;
}

template <typename T>
void write_array(const std::filesystem::path& path, const std::vector<T>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
  file.close();
  GLINT_REQUIRE(file, "cannot write ", path.string());
}

}  // namespace glint::test
