#include "kernels/normal.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "tests/kernels/compare.h"

namespace glint {
namespace {

using test::same_bits;

constexpr NormalStream kStream = {1337, 0x494E4954, 0x123456789abcdef, 0.02};

std::vector<float> by_formula(uint64_t first, size_t n, const NormalStream& stream) {
  std::vector<float> values;
  for (uint64_t block = first / 4; values.size() < n; ++block)
    for (const float value : four_normals(stream, block)) values.push_back(value);
  values.resize(n);
  return values;
}

// Draws into the middle of an array, and checks that the rest is left alone.
std::vector<float> drawn(int threads, uint64_t first, size_t n, const NormalStream& stream) {
  std::vector<float> values(n + 2, 7.0f);
  draw_normals(CpuContext{threads}, values.data() + 1, first, n, stream);
  CHECK(values.front() == 7.0f);
  CHECK(values.back() == 7.0f);
  return {values.begin() + 1, values.end() - 1};
}

// Value 240690 of this stream lies so close to a boundary between two floats that only the scalar formula decides it.
TEST_CASE("[threads] normal values: the formula's bits for any number of threads, vectors and all") {
  const size_t n = 250'001;
  const std::vector<float> expected = by_formula(0, n, kStream);
  for (const int threads : {1, 2, 3}) {
    INFO("threads ", threads);
    CHECK(same_bits(drawn(threads, 0, n, kStream), expected));
  }
  for (const size_t length : {size_t{0}, size_t{1}, size_t{4}, size_t{31}, size_t{32}, size_t{33}, size_t{70}}) {
    INFO("length ", length);
    CHECK(same_bits(drawn(1, 0, length, kStream), {expected.begin(), expected.begin() + static_cast<long>(length)}));
  }
}

TEST_CASE("[threads] normal values by pieces, also where the counter's low word overflows") {
  const uint64_t overflow = 4 * (uint64_t{1} << 32);
  for (const uint64_t first : {uint64_t{4}, uint64_t{12'340}, overflow - 12, overflow - 4, overflow}) {
    INFO("first ", first);
    CHECK(same_bits(drawn(2, first, 20'000, kStream), by_formula(first, 20'000, kStream)));
  }
  CHECK_THROWS_AS(drawn(1, 2, 8, kStream), Error);
}

TEST_CASE("normal values: moments, and no two seeds, domains or streams alike") {
  const size_t n = 1'000'000;
  NormalStream stream = kStream;
  const std::vector<float> values = drawn(2, 0, n, stream);
  double sums[4] = {};
  for (const float value : values) {
    double power = 1;
    for (double& sum : sums) sum += power *= value / stream.deviation;
  }
  const double spread = 5 / std::sqrt(static_cast<double>(n));  // five standard errors
  CHECK(std::abs(sums[0] / n) < spread);
  CHECK(std::abs(sums[1] / n - 1) < std::sqrt(2.0) * spread);
  CHECK(std::abs(sums[2] / n) < std::sqrt(15.0) * spread);
  CHECK(std::abs(sums[3] / n - 3) < std::sqrt(96.0) * spread);
  CHECK(*std::max_element(values.begin(), values.end()) > 4 * stream.deviation);
  for (const NormalStream& other : {NormalStream{1338, stream.domain, stream.stream, stream.deviation},
                                    NormalStream{stream.seed, 1, stream.stream, stream.deviation},
                                    NormalStream{stream.seed, stream.domain, 1, stream.deviation}})
    CHECK(drawn(1, 0, 32, other)[5] != values[5]);
}

}  // namespace
}  // namespace glint
