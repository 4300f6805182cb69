#include "train/head_mask.h"

#include <cstdio>
#include <memory>

#include "kernels/check.h"
#include "kernels/dropout.h"

namespace glint {

Device device_of(MaskSource source) {
  return source == MaskSource::cuda ? Device::cuda() : Device(cpu_context(0, MatmulChoice::automatic));
}

void HeadMask::draw(float p, uint64_t seed, uint64_t offset, uint64_t sequence_head) {
  const uint8_t threshold = keep_rule(p).threshold;
  for (int64_t i = 0; i < rows_; ++i)
    for (int64_t j = 0; j < cols_; ++j)
      if (keep_attention(seed, offset, sequence_head, static_cast<uint32_t>(i), static_cast<uint32_t>(j), threshold))
        keep(i, j);
}

std::string HeadMask::sha256() const {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), std::fclose);
  GLINT_REQUIRE(
      file && std::fwrite(bits_.data(), 1, bits_.size(), file.get()) == bits_.size() && std::fflush(file.get()) == 0,
      "the mask's hash can't be computed: no temporary file of ", bits_.size(), " bytes");
  FILE* const shell = popen(str_cat("sha256sum </proc/self/fd/", fileno(file.get())).c_str(), "r");
  char hash[65] = {};
  const bool read = shell && std::fread(hash, 1, 64, shell) == 64;
  GLINT_REQUIRE(shell && pclose(shell) == 0 && read, "the mask's hash can't be computed: sha256sum is missing");
  return hash;
}

}  // namespace glint
