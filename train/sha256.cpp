#include "train/sha256.h"

#include <cstdio>
#include <memory>

#include "kernels/check.h"

namespace glint {

std::string sha256(const std::vector<uint8_t>& bytes) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), std::fclose);
  GLINT_REQUIRE(
      file && std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size() && std::fflush(file.get()) == 0,
      "the mask's hash can't be computed: no temporary file of ", bytes.size(), " bytes");
  FILE* const shell = popen(str_cat("sha256sum </proc/self/fd/", fileno(file.get())).c_str(), "r");
  char hash[65] = {};
  const bool read = shell && std::fread(hash, 1, 64, shell) == 64;
  GLINT_REQUIRE(shell && pclose(shell) == 0 && read, "the mask's hash can't be computed: sha256sum is missing");
  return hash;
}

}  // namespace glint
