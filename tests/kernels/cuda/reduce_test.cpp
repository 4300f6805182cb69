#include "kernels/reduce.h"

#include <limits>

#include "kernels/convert.h"
#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sums {
  double sum, squares;
  bool operator==(const Sums&) const = default;
};

Sums sums_of(const std::vector<float>& x, size_t offset = 0) {
  const Guarded<float> values(x, offset);
  const OnDevice<double> total(-1.0), squares(-1.0);
  DeviceBuffer<char> scratch(reduce_scratch(kCuda, x.size()));
  sum(kCuda, total.data(), values.data(), x.size(), scratch.data());
  sum_of_squares(kCuda, squares.data(), values.data(), x.size(), scratch.data());
  return {total.get(), squares.get()};
}

template <typename Scalar>
std::vector<float> column_sums_of(const std::vector<float>& x, int rows, int columns, Write write, float before,
                                  size_t offset) {
  const Guarded<Scalar> values(x, offset);
  const Guarded<float> sums(std::vector<float>(static_cast<size_t>(columns), before), offset);
  DeviceBuffer<float> scratch(column_sums_scratch(kCuda, rows, columns));
  column_sums(kCuda, sums.data(), values.data(), rows, columns, scratch.data(), write);
  return sums.values();
}

template <typename Scalar>
void check_column_sums(RandomInputs& inputs, int rows, int columns, size_t offset = 0) {
  INFO("rows ", rows, ", columns ", columns, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto x = rounded<Scalar>(inputs.normal(static_cast<size_t>(rows) * static_cast<size_t>(columns)));
  std::vector<double> exact(static_cast<size_t>(columns));
  std::vector<float> plain(static_cast<size_t>(columns));
  for (size_t i = 0; i < x.size(); ++i) {
    exact[i % exact.size()] += static_cast<double>(x[i]);
    plain[i % exact.size()] += x[i];
  }
  const double terms = std::sqrt(rows);
  const auto got = column_sums_of<Scalar>(x, rows, columns, Write::set, std::nanf(""), offset);
  check_as_good("sums", got, plain, exact, terms);
  auto added = exact;
  for (double& sum : added) sum += 0.5;
  check_as_good("added", column_sums_of<Scalar>(x, rows, columns, Write::add, 0.5f, offset), plain, added, terms);
  // Held against the CPU's, which adds in double.
  std::vector<Scalar> host;
  for (const float value : x) host.push_back(from_float_to<Scalar>(value));
  std::vector<float> cpu(exact.size());
  column_sums(kCpu, cpu.data(), host.data(), rows, columns, nullptr, Write::set);
  CHECK(worst_error(cpu, exact) <= std::numeric_limits<float>::epsilon() * largest(exact));
}

template <typename Scalar>
uint64_t first_broken(const std::vector<float>& x, size_t offset = 0) {
  const Guarded<Scalar> values(x, offset);
  const OnDevice<uint64_t> result(1);
  first_not_finite(kCuda, result.data(), values.data(), x.size());
  return result.get();
}

}  // namespace

TEST_CASE("cuda reduce: sums agree with long double, in any order of threads, small shapes") {
  RandomInputs inputs(1401);
  INFO("seed ", inputs.seed);
  for (const size_t n :
       {size_t{0}, size_t{1}, size_t{3}, size_t{65}, size_t{1000}, kReduceBlock, 3 * kReduceBlock + 333}) {
    const std::vector<float> x = inputs.normal(n, 10.0f);
    long double total = 0, squares = 0;
    for (float value : x) {
      total += value;
      squares += static_cast<long double>(value) * value;
    }
    const Sums got = sums_of(x);
    CHECK(std::abs(got.sum - static_cast<double>(total)) <= 1e-12 * (1.0 + static_cast<double>(squares)));
    CHECK(std::abs(got.squares - static_cast<double>(squares)) <= 1e-13 * static_cast<double>(squares));
    CHECK(sums_of(x, 3) == got);  // as no pack is aligned
    if (n <= 1000 || n == 3 * kReduceBlock + 333) simt::in_every_order([&] { CHECK(sums_of(x) == got); }, 1);
  }
}

TEST_CASE("cuda reduce: a sum of squares beyond the range of float is a number, that of a NaN is none") {
  std::vector<float> x(1000, 1e25f);
  CHECK(sums_of(x).squares == doctest::Approx(1e53));
  x[997] = std::nanf("");
  CHECK(std::isnan(sums_of(x).squares));
  CHECK(std::isnan(sums_of(x).sum));
}

TEST_CASE("cuda reduce: the first NaN or infinity is found, small shapes") {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{17}, size_t{2500}}) {
    std::vector<float> x(n, 3e38f);
    CHECK(first_broken<float>(x, 1) == n);
    CHECK(first_broken<Bf16>(x) == n);
    for (const size_t place : {size_t{0}, size_t{3}, size_t{16}, size_t{1029}, n - 1}) {
      if (place >= n) continue;
      auto broken = x;
      broken[n - 1] = kInfinity;
      broken[place] = place % 2 ? std::nanf("") : -kInfinity;
      simt::in_every_order([&] { CHECK(first_broken<float>(broken) == place); }, 1);
      CHECK(first_broken<float>(broken, 3) == place);
      CHECK(first_broken<Bf16>(broken) == place);
    }
  }
}

TEST_CASE("cuda reduce: column sums agree with double, small shapes") {
  RandomInputs inputs(1402);
  INFO("seed ", inputs.seed);
  for (const int rows : {1, 3, 17, 64, 65}) {
    for (const int columns : {1, 8, 63, 129, 257}) {
      check_column_sums<float>(inputs, rows, columns);
      check_column_sums<Bf16>(inputs, rows, columns);
    }
  }
  check_column_sums<float>(inputs, 70, 64, 1);
  check_column_sums<Bf16>(inputs, 70, 64, 5);
}

TEST_CASE("cuda reduce: column sums of many rows are repeatable in any order of threads") {
  RandomInputs inputs(1403);
  INFO("seed ", inputs.seed);
  check_column_sums<float>(inputs, 20000, 3);  // more rows than kLeastRows * kMostBlocks
  const std::vector<float> x = rounded<Bf16>(inputs.normal(300 * 40));
  const auto once = column_sums_of<Bf16>(x, 300, 40, Write::set, 0.0f, 0);
  simt::in_every_order([&] { CHECK(same_bits(column_sums_of<Bf16>(x, 300, 40, Write::set, 0.0f, 0), once)); });
  auto broken = x;
  broken[299 * 40 + 7] = std::nanf("");
  const auto sums = column_sums_of<Bf16>(broken, 300, 40, Write::set, 0.0f, 0);
  for (size_t c = 0; c < 40; ++c) CHECK(std::isnan(sums[c]) == (c == 7));
}

TEST_CASE("cuda convert: to bf16 as to_bf16 does, and back exactly, small shapes") {
  RandomInputs inputs(1404);
  INFO("seed ", inputs.seed);
  for (const size_t n : {1, 3, 8, 17, 64, 1000}) {
    for (const size_t offset : {0, 1, 4}) {
      std::vector<float> x = inputs.normal(n);
      x[0] = 3.4e38f;
      x[n / 2] = std::nanf("");
      const Guarded<float> from(x, offset), back(n, offset);
      const Guarded<Bf16> to(n, offset);
      convert(kCuda, to.data(), from.data(), n);
      convert(kCuda, back.data(), static_cast<const Bf16*>(to.data()), n);
      const std::vector<float> expected = rounded<Bf16>(x), got = to.values();
      for (size_t i = 0; i < n; ++i) CHECK((got[i] == expected[i] || (std::isnan(got[i]) && i == n / 2)));
      std::vector<Bf16> cpu(n);
      std::vector<float> cpu_back(n);
      convert(kCpu, cpu.data(), x.data(), n);
      convert(kCpu, cpu_back.data(), cpu.data(), n);
      for (size_t i = 0; i < n; ++i) {
        CHECK(cpu[i].bits == to_bf16(x[i]).bits);
        CHECK((back.values()[i] == cpu_back[i] || i == n / 2));
      }
    }
  }
}

}  // namespace glint::test
