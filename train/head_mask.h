// The dropout mask of one attention head as packed bits, to compare it with other implementations' bit for bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/device.h"
#include "train/options.h"

namespace glint {

// definition: kernels/dropout.h; otherwise what the attention kernel of that device drops.
enum class MaskSource { definition, cpu, cuda };
inline Names<MaskSource> names_of(MaskSource) {
  return {{"none", MaskSource::definition}, {"cpu", MaskSource::cpu}, {"cuda", MaskSource::cuda}};
}
Device device_of(MaskSource source);

// Element (i, j) is bit k = i*cols + j, that is bit k%8 (lowest first) of byte k/8: 1 if it is kept.
class HeadMask {
 public:
  HeadMask(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), bits_((static_cast<size_t>(rows) * static_cast<size_t>(cols) + 7) / 8) {}
  // As kernels/dropout.h defines it. sequence_head: the index of the head among those of all sequences.
  void draw(float p, uint64_t seed, uint64_t offset, uint64_t sequence_head);

  void keep(int64_t i, int64_t j) {
    const auto k = static_cast<size_t>(i * cols_ + j);
    bits_[k / 8] = static_cast<uint8_t>(bits_[k / 8] | 1 << (k % 8));
    ++kept_;
  }
  bool kept(int64_t i, int64_t j) const {
    const auto k = static_cast<size_t>(i * cols_ + j);
    return bits_[k / 8] >> (k % 8) & 1;
  }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t count() const { return kept_; }
  // Of the bytes, in hexadecimal, by the system's sha256sum. UserError if that is missing.
  std::string sha256() const;

 private:
  int64_t rows_, cols_, kept_ = 0;
  std::vector<uint8_t> bits_;
};

// The mask of 512 x 512, p 0.1, that FlashAttention-2's own code draws with this seed, compiled for the host.
inline constexpr uint64_t kFlashAttention2Seed = 0x1234567890abcdef;
inline constexpr const char* kFlashAttention2Sha256 =
    "e161287a7f1fa073c6ff6cff582f7b0de729de40eba9e41b1f7142d9d4427f2d";

}  // namespace glint
