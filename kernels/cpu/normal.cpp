// Sixteen values at a time in double precision, which are then as good as the scalar formula's: both are within a few
// units of 2^-53 of the exact value. Rounding them to float gives the same bits, except where a boundary between two
// floats lies so close that it cannot be told (3 in 10 million); there the scalar formula is computed.
// (The test of the rounding is A. Ziv's, "Fast Evaluation of Elementary Mathematical Functions", 1991.)
#include "kernels/normal.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_simd.h"

namespace glint {

namespace {

using simd::Word4;
typedef double Double4 __attribute__((vector_size(32)));
typedef float Float4 __attribute__((vector_size(16)));
typedef int64_t Long2 __attribute__((vector_size(16)));

constexpr uint64_t kBitsOf2p52 = uint64_t{0x433} << 52;  // those of 2^52: their lowest bits are an integer's

// Uniform in (0, 1), 24 bits, never 0.
double uniform(uint32_t word) { return ((word >> 8) + 0.5) / 16777216.0; }
Double4 uniform(Word4 words) {
  const Word4 integer = ((words & 0xFFFFFFFFu) >> 8) | kBitsOf2p52;
  return ((Double4)integer - (0x1p52 - 0.5)) * 0x1p-24;
}

Double4 square_root(Double4 x) {
#if defined(__AVX2__)
  return _mm256_sqrt_pd(x);
#else
  Double4 root;
  for (int lane = 0; lane < 4; ++lane) root[lane] = std::sqrt(x[lane]);
  return root;
#endif
}

// Natural logarithm. x = m * 2^n with m from sqrt(1/2) to sqrt(2); log(m) = 2 artanh((m - 1) / (m + 1)), its series.
Double4 log(Double4 x) {
  constexpr uint64_t kRootHalf = 0x3FE6A09E667F3BCD;  // the bits of sqrt(1/2)
  constexpr double kHigh = 0x1.62e42fefap-1;          // of log(2): n * kHigh is exact
  constexpr double kLow = 0x1.cf79abc9e3b3ap-40;
  constexpr uint64_t kBias = 64;  // n + kBias is positive
  const Word4 biased = ((Word4)x - kRootHalf + (kBias << 52)) >> 52;
  const Double4 n = (Double4)(biased | kBitsOf2p52) - (0x1p52 + kBias);
  const Double4 m = (Double4)((Word4)x - ((biased - kBias) << 52));
  const Double4 t = (m - 1.0) / (m + 1.0), t2 = t * t;
  Double4 series = t2 * (1.0 / 21) + 1.0 / 19;
  for (const double term : {1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3})
    series = series * t2 + term;
  return n * kHigh + (n * kLow + 2 * (t + t * t2 * series));
}

struct Point {
  Double4 cosine, sine;
};

// Of the angle that the scalar formula computes, 2 pi u with its rounding. Taylor series within an eighth of a turn.
Point on_circle(Double4 u) {
  // The rounded product: an integer operation (with the sign, which is 0) keeps it out of a fused multiply-add.
  const Double4 angle = (Double4)((Word4)(u * (2 * std::numbers::pi)) | (Word4)u >> 63);
  const Double4 shifted = 4 * u + 0x1.8p52;  // rounds to whole quarters of a turn
  const Word4 quarter = (Word4)shifted;
  const Double4 n = shifted - 0x1.8p52;
  // pi / 2 in parts of 33 bits, whose products with n are exact (W. J. Cody, W. Waite, 1980).
  const Double4 r = ((angle - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
  const Double4 r2 = r * r;
  Double4 sine = r2 * (1.0 / 355687428096000) - 1.0 / 1307674368000;
  for (const double term : {1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6})
    sine = sine * r2 + term;
  sine = r + r * r2 * sine;
  Double4 cosine = r2 * (1.0 / 20922789888000) - 1.0 / 87178291200;
  for (const double term : {1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320, -1.0 / 720, 1.0 / 24, -1.0 / 2})
    cosine = cosine * r2 + term;
  cosine = 1.0 + r2 * cosine;
  const Word4 swapped = -(quarter & 1);
  const Word4 c = ((Word4)cosine & ~swapped) | ((Word4)sine & swapped);
  const Word4 s = ((Word4)sine & ~swapped) | ((Word4)cosine & swapped);
  return {(Double4)(c ^ ((quarter + 1) & 2) << 62), (Double4)(s ^ (quarter & 2) << 62)};
}

// A value times the deviation, a little less and a little more.
struct Bounds {
  double lower, upper;
};

// Values of blocks block .. block + 3, 4 each, from their Philox words; false if some rounding cannot be told.
bool round_sixteen(float* values, Word4 x, Word4 y, Word4 z, Word4 w, const Bounds& scale) {
  const Double4 radius[] = {square_root(-2 * log(uniform(x))), square_root(-2 * log(uniform(z)))};
  const Point point[] = {on_circle(uniform(y)), on_circle(uniform(w))};
  const Double4 normals[] = {radius[0] * point[0].cosine, radius[0] * point[0].sine, radius[1] * point[1].cosine,
                             radius[1] * point[1].sine};
  Float4 rounded[4];
  Long2 same = {-1, -1};
  for (int k = 0; k < 4; ++k) {
    rounded[k] = __builtin_convertvector(normals[k] * scale.lower, Float4);
    same &= (Long2)(rounded[k] == __builtin_convertvector(normals[k] * scale.upper, Float4));
  }
  const Float4 a = __builtin_shufflevector(rounded[0], rounded[1], 0, 4, 1, 5);
  const Float4 b = __builtin_shufflevector(rounded[2], rounded[3], 0, 4, 1, 5);
  const Float4 c = __builtin_shufflevector(rounded[0], rounded[1], 2, 6, 3, 7);
  const Float4 d = __builtin_shufflevector(rounded[2], rounded[3], 2, 6, 3, 7);
  simd::store(values, __builtin_shufflevector(a, b, 0, 1, 4, 5));
  simd::store(values + 4, __builtin_shufflevector(a, b, 2, 3, 6, 7));
  simd::store(values + 8, __builtin_shufflevector(c, d, 0, 1, 4, 5));
  simd::store(values + 12, __builtin_shufflevector(c, d, 2, 3, 6, 7));
  return (same[0] & same[1]) == -1;
}

PhiloxCounter counter_of(const NormalStream& stream, uint64_t block) {
  return {low_word(block), high_word(block) ^ stream.domain, low_word(stream.stream), high_word(stream.stream)};
}

void draw_by_four(float* values, uint64_t block, size_t n, const NormalStream& stream) {
  for (size_t i = 0; i < n; i += 4, ++block) {
    const std::array<float, 4> four = four_normals(stream, block);
    std::copy_n(four.begin(), std::min<size_t>(4, n - i), values + i);
  }
}

void draw_range(float* values, uint64_t block, size_t n, const NormalStream& stream) {
  constexpr double kMargin = 0x1p-46;  // far above the errors of both ways, far below a float's 2^-24
  const Bounds scale = {stream.deviation * (1 - kMargin), stream.deviation * (1 + kMargin)};
  size_t i = 0;
  for (; i + 32 <= n; i += 32, block += 8) {
    const Word4 even = Word4{0, 1, 2, 3} + block, odd = Word4{4, 5, 6, 7} + block;
    const simd::PhiloxCounters r = simd::philox4x32<10>({{even, odd},
                                                         simd::Words{even >> 32, odd >> 32} ^ stream.domain,
                                                         simd::same(low_word(stream.stream)),
                                                         simd::same(high_word(stream.stream))},
                                                        philox_key(stream.seed));
    if (!round_sixteen(values + i, r.x.even, r.y.even, r.z.even, r.w.even, scale))
      draw_by_four(values + i, block, 16, stream);
    if (!round_sixteen(values + i + 16, r.x.odd, r.y.odd, r.z.odd, r.w.odd, scale))
      draw_by_four(values + i + 16, block + 4, 16, stream);
  }
  draw_by_four(values + i, block, n - i, stream);
}

}  // namespace

std::array<float, 4> four_normals(const NormalStream& stream, uint64_t block) {
  const PhiloxCounter r = philox4x32<10>(counter_of(stream, block), philox_key(stream.seed));
  const double radius[] = {std::sqrt(-2 * std::log(uniform(r.x))), std::sqrt(-2 * std::log(uniform(r.z)))};
  const double angle[] = {2 * std::numbers::pi * uniform(r.y), 2 * std::numbers::pi * uniform(r.w)};
  const double z[] = {radius[0] * std::cos(angle[0]), radius[0] * std::sin(angle[0]), radius[1] * std::cos(angle[1]),
                      radius[1] * std::sin(angle[1])};
  std::array<float, 4> values;
  for (size_t k = 0; k < 4; ++k) values[k] = static_cast<float>(stream.deviation * z[k]);
  return values;
}

void draw_normals(const CpuContext& ctx, float* values, uint64_t first, size_t n, const NormalStream& stream) {
  GLINT_CHECK(first % 4 == 0, "values are drawn by four");
  constexpr size_t kNanoseconds = 4;  // a value takes about as long
  parallel_ranges(ctx, n, 32, n * kNanoseconds, [&](const Range& range) {
    draw_range(values + range.begin, (first + range.begin) / 4, range.end - range.begin, stream);
  });
}

}  // namespace glint
