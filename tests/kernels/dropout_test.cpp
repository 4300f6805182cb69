#include "kernels/dropout.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/dropout_simd.h"
#include "tests/kernels/dropout_site.h"

namespace glint {
namespace {

constexpr uint64_t kSeed = 0x1234567890abcdef;

// FlashAttention-2's arguments of a mask: sequence b and head h of H.
struct Mask {
  uint64_t offset;
  uint64_t b, h, H;
  uint32_t rows, columns;
};

bool keep(const Mask& mask, uint32_t i, uint32_t j, uint8_t threshold) {
  return keep_attention(kSeed, mask.offset, mask.b * mask.H + mask.h, i, j, threshold);
}

// Element (i, j) is bit i*columns + j; bit k is bit k%8 of byte k/8.
std::vector<uint8_t> packed_bits(const Mask& mask, float p) {
  std::vector<uint8_t> bytes((size_t{mask.rows} * mask.columns + 7) / 8);
  size_t k = 0;
  for (uint32_t i = 0; i < mask.rows; ++i) {
    for (uint32_t j = 0; j < mask.columns; ++j, ++k) {
      if (keep(mask, i, j, keep_rule(p).threshold)) bytes[k / 8] |= static_cast<uint8_t>(1u << (k % 8));
    }
  }
  return bytes;
}

uint64_t fnv1a(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

int kept(const std::vector<uint8_t>& bytes) {
  int count = 0;
  for (const uint8_t byte : bytes) count += __builtin_popcount(byte);
  return count;
}

// The first three masks come from FlashAttention-2's own code, compiled for the host; tests of `glint mask` check their
// sha256. Their FNV-1a hashes, and the last line, come from a Python program of the formula.
TEST_CASE("masks are FlashAttention-2's, bit for bit") {
  const struct {
    Mask mask;
    int kept;
    uint64_t hash;
  } known[] = {{{0, 0, 0, 1, 32, 64}, 1835, 0x047f1460aefe97e7},
               {{64, 1, 2, 3, 32, 64}, 1852, 0xbb008658ef4c4f1e},
               {{0, 0, 0, 1, 512, 512}, 235568, 0x24fd11b347ddb9b9},
               {{0xfffffff0, 0, 0, 1, 32, 64}, 1862, 0x0401a668001a93bc}};  // c carries into its upper word
  for (const auto& answer : known) {
    const std::vector<uint8_t> bits = packed_bits(answer.mask, 0.1f);
    CHECK(kept(bits) == answer.kept);
    CHECK(fnv1a(bits) == answer.hash);
  }
}

TEST_CASE("spot values of the attention layout") {
  const PhiloxCounter origin = draw_attention(kSeed, 0, 0, 0, 0, 0);
  CHECK(origin.x == 0x73b588da);
  CHECK(origin.y == 0xed671e10);
  CHECK(origin.z == 0x254318b8);
  CHECK(origin.w == 0xcc4e63a9);
  // b 1, h 2 of H 3, offset 64, element (31, 63): lane 31 of block (1, 1).
  const PhiloxCounter corner = draw_attention(kSeed, 64, 1 * 3 + 2, 1, 1, 31);
  CHECK(corner.x == 0x492114fc);
  CHECK(corner.y == 0xa1490562);
  CHECK(corner.z == 0xe43be4aa);
  CHECK(corner.w == 0xf1e1bfc8);
  CHECK(byte_of(corner, 15) == 241);
  CHECK_FALSE(keep({64, 1, 2, 3, 32, 64}, 31, 63, keep_rule(0.1f).threshold));
  CHECK(keep({64, 1, 2, 3, 32, 64}, 31, 63, 241));
}

TEST_CASE("thresholds are quantised to 8 bits, scales are not") {
  const float ps[] = {.05f, .1f, .125f, .15f, .2f, .25f, .3f, .4f, .5f};
  const int thresholds[] = {242, 229, 223, 216, 204, 191, 178, 153, 127};
  for (int i = 0; i < 9; ++i) {
    INFO("p ", ps[i]);
    CHECK(keep_rule(ps[i]).threshold == thresholds[i]);
    CHECK(keep_rule(ps[i]).scale == 1.0f / (1.0f - ps[i]));
  }
  CHECK(keep_rule(0x1p-26f).threshold == 255);  // so small that 1 - p rounds to 1
}

TEST_CASE("the kept share is (threshold + 1) / 256") {
  for (const float p : {0.1f, 0.5f}) {
    const double expected = (keep_rule(p).threshold + 1) / 256.0, n = 512 * 512;
    const double share = kept(packed_bits({7 * 32, 3, 1, 2, 512, 512}, p)) / n;
    CHECK(std::abs(share - expected) < 4 * std::sqrt(expected * (1 - expected) / n));  // four standard deviations
  }
}

TEST_CASE("sites and sequences draw from ranges that do not overlap") {
  // Sequence 1 at a site is sequence 0 of a site 32*H offsets later; the row layout counts as one head.
  CHECK(draw_attention(kSeed, 0, 4, 1, 2, 3).x == draw_attention(kSeed, dropout_offsets(1, 4), 0, 1, 2, 3).x);
  CHECK(draw_row(kSeed, 0, 3, 5, 6).x == draw_row(kSeed, dropout_offsets(3, 1), 0, 5, 6).x);
}

TEST_CASE("vectorised draws equal the scalar ones") {
  test::RandomInputs inputs(20260802);
  INFO("seed ", inputs.seed);
  for (int repeat = 0; repeat < 40; ++repeat) {
    const uint64_t high =
        repeat % 2 ? uint64_t{inputs.engine() % 3} << 32 : 0xffffffff00000000;  // also wraps and carries
    const RngState rng{inputs.engine(), high + 0xffffff00 + inputs.engine() % 256, 0, inputs.engine() % 5};
    const float ps[] = {0.1f, 0.5f, 0.9f, 0.999f, 0x1p-26f};
    const Dropout dropout{ps[repeat % 5], &rng, inputs.engine() % 300};
    const KeepRule rule = keep_rule(dropout.p);
    const uint64_t offset = rng.offset + dropout.site, b = inputs.engine() % 4;
    const uint32_t t = static_cast<uint32_t>(inputs.engine() % 2000);
    const DropoutMask mask(dropout);

    const int n = 1 + inputs.below(700);
    std::vector<uint8_t> row(static_cast<size_t>(n) + 1, 0x5a);
    simd::draw_row(row.data(), n, mask, b, t);
    int wrong = 0;
    for (int c = 0; c < n; ++c) {
      const bool kept_here =
          keep_row(rng.seed, offset, rng.first_sequence + b, t, static_cast<uint32_t>(c), rule.threshold);
      wrong += row[static_cast<size_t>(c)] != (kept_here ? 0xff : 0);
    }
    CHECK(wrong == 0);
    CHECK(row.back() == 0x5a);

    const int sequence = inputs.below(400), H = 5, h = inputs.below(H);
    const uint64_t sequence_head =
        (rng.first_sequence + static_cast<uint64_t>(sequence)) * H + static_cast<uint64_t>(h);
    const DropoutMask head_mask(dropout, H, sequence, h);
    const uint32_t block_row = t / 16, block_column = static_cast<uint32_t>(inputs.below(60));
    constexpr int kStride = 24;
    std::vector<uint8_t> block(32 * kStride, 0x5a);
    simd::draw_attention_block(block.data(), kStride, head_mask, block_row, block_column);
    for (uint32_t j = 0; j < 32; ++j) {
      for (uint32_t i = 0; i < kStride; ++i) {
        const uint8_t byte = block[j * kStride + i];
        if (i >= 16) {
          wrong += byte != 0x5a;
        } else {
          const bool kept_here = keep_attention(rng.seed, offset, sequence_head, 16 * block_row + i,
                                                32 * block_column + j, rule.threshold);
          wrong += byte != (kept_here ? 0xff : 0);
          wrong += kept_here != head_mask.keeps_attention(16 * block_row + i, 32 * block_column + j);
        }
      }
    }
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace glint
