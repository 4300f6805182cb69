#include "kernels/reduce.h"

#include <limits>

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sums {
  double sum, squares;
  bool operator==(const Sums&) const = default;
};

Sums sums_of(const Context& ctx, const std::vector<float>& x, size_t offset = 0) {
  const Guarded<float> values(x, offset);
  const OnDevice<double> total(-1.0), squares(-1.0);
  const Buffer<char> scratch(reduce_scratch(ctx, x.size()));
  sum(ctx, total.data(), values.data(), x.size(), scratch.data());
  sum_of_squares(ctx, squares.data(), values.data(), x.size(), scratch.data());
#ifndef GLINT_TEST_CUDA
  CHECK((sum(ctx, x.data(), x.size()) == total.get() || std::isnan(total.get())));
  CHECK((sum_of_squares(ctx, x.data(), x.size()) == squares.get() || std::isnan(squares.get())));
#endif
  return {total.get(), squares.get()};
}

void check_sums(RandomInputs& inputs, size_t n) {
  INFO("n ", n);
  const std::vector<float> x = inputs.normal(n, 10.0f);
  long double total = 0, squares = 0;
  for (float value : x) {
    total += value;
    squares += static_cast<long double>(value) * value;
  }
  const Sums got = sums_of({}, x);
  CHECK(std::abs(got.sum - static_cast<double>(total)) <= 1e-12 * (1.0 + static_cast<double>(squares)));
  CHECK(std::abs(got.squares - static_cast<double>(squares)) <= 1e-13 * static_cast<double>(squares));
  CHECK(sums_of({}, x, 3) == got);  // where no load of several elements is aligned
  in_every_order([&](const Context& ctx) { CHECK(sums_of(ctx, x) == got); }, 1);
}

template <typename Scalar>
std::vector<float> column_sums_of(const Context& ctx, const std::vector<float>& x, int rows, int columns,
                                  Write write = Write::set, size_t offset = 0) {
  const Guarded<Scalar> values(x, offset);
  const Guarded<float> sums(static_cast<size_t>(columns), before(write), offset);
  const Buffer<float> scratch(column_sums_scratch(ctx, rows, columns));
  column_sums<Scalar>(ctx, sums.data(), values.data(), rows, columns, scratch.data(), write);
  return sums.values();
}

template <typename Scalar>
void check_column_sums(RandomInputs& inputs, int rows, int columns, size_t offset = 0) {
  INFO("rows ", rows, ", columns ", columns, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto x = rounded<Scalar>(inputs.normal(static_cast<size_t>(rows) * static_cast<size_t>(columns)));
  for (const Write write : {Write::set, Write::add}) {
    std::vector<double> exact(static_cast<size_t>(columns), base(write));
    std::vector<float> plain(exact.size(), base(write));
    for (size_t i = 0; i < x.size(); ++i) {
      exact[i % exact.size()] += static_cast<double>(x[i]);
      plain[i % exact.size()] += x[i];
    }
    const auto got = column_sums_of<Scalar>({}, x, rows, columns, write, offset);
    check_as_good("sums", got, plain, exact, std::sqrt(rows));
    if (kOnCpu && write == Write::set)  // it adds in double
      CHECK(worst_error(got, exact) <= std::numeric_limits<float>::epsilon() * largest(exact));
  }
}

template <typename Scalar>
size_t first_broken(const Context& ctx, const std::vector<float>& x, size_t offset = 0) {
  const Guarded<Scalar> values(x, offset);
#ifdef GLINT_TEST_CUDA
  const OnDevice<uint64_t> result(1);
  first_not_finite<Scalar>(ctx, result.data(), values.data(), x.size());
  return result.get();
#else
  return first_not_finite<Scalar>(ctx, values.data(), x.size());
#endif
}

void check_first_broken(size_t n, const std::vector<size_t>& places) {
  std::vector<float> x(n, 3e38f);
  CHECK(first_broken<float>({}, x, 1) == n);
  CHECK(first_broken<Bf16>({}, x) == n);
  for (const size_t place : places) {
    if (place >= n) continue;
    auto broken = x;
    broken[n - 1] = kInfinity;
    broken[place] = place % 2 ? std::nanf("") : -kInfinity;
    INFO("n ", n, ", place ", place);
    in_every_order([&](const Context& ctx) { CHECK(first_broken<float>(ctx, broken) == place); }, 1);
    CHECK(first_broken<float>({}, broken, 3) == place);
    CHECK(first_broken<Bf16>({}, broken) == place);
  }
}

}  // namespace

TEST_CASE("reduce: sums agree with long double, the same in every order, small shapes") {
  RandomInputs inputs(1401);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{0}, size_t{1}, size_t{3}, size_t{9}, size_t{65}, size_t{1000}, kReduceBlock,
                         kReduceBlock + 1, 3 * kReduceBlock + 333})
    check_sums(inputs, n);
}

TEST_CASE("reduce: sums of many agree with long double, the same in every order") {
  RandomInputs inputs(401);
  INFO("seed ", inputs.seed);
  check_sums(inputs, 7 * kReduceBlock + 333);
}

TEST_CASE("reduce: sums of few doubles") {
  const std::vector<double> x = {1e17, 3.0, -1e17, 0.25};
  const Buffer<double> values(x);
  const OnDevice<double> total(-1.0);
  sum(Context{}, total.data(), values.data(), 2);
  CHECK(total.get() == 1e17 + 3.0);
}

TEST_CASE("reduce: a sum of squares beyond the range of float is a number, that of a NaN is none") {
  std::vector<float> x(1000, 1e25f);
  CHECK(sums_of({}, x).squares == doctest::Approx(1e53));
  x[997] = std::nanf("");
  CHECK(std::isnan(sums_of({}, x).squares));
  CHECK(std::isnan(sums_of({}, x).sum));
}

TEST_CASE("reduce: the first NaN or infinity is found, small shapes") {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{17}, size_t{2500}})
    check_first_broken(n, {0, 3, 16, 1029, n - 1});
}

TEST_CASE("reduce: the first NaN or infinity among many is found") {
  const size_t n = 6 * kReduceBlock + 5;
  check_first_broken(n, {0, 3, kReduceBlock, 4 * kReduceBlock + 17, n - 1});
}

TEST_CASE("reduce: column sums agree with double, small shapes") {
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

TEST_CASE("reduce: column sums of many rows have the same bits in every order") {
  RandomInputs inputs(1403);
  INFO("seed ", inputs.seed);
  check_column_sums<float>(inputs, 20000, 3);  // more rows than the kernel's kMinRows * kMaxBlocks
  const std::vector<float> x = rounded<Bf16>(inputs.normal(300 * 40));
  const auto once = column_sums_of<Bf16>({}, x, 300, 40);
  in_every_order([&](const Context& ctx) { CHECK(same_bits(column_sums_of<Bf16>(ctx, x, 300, 40), once)); });
  auto broken = x;
  broken[299 * 40 + 7] = std::nanf("");
  const auto sums = column_sums_of<Bf16>({}, broken, 300, 40);
  for (size_t c = 0; c < 40; ++c) CHECK(std::isnan(sums[c]) == (c == 7));
}

}  // namespace glint::test
